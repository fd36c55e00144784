import BlockImage
import GuestFiles
import ImageFormats
import PartitionTable

/// A place of an image's disk that may have a file system: the whole disk, a partition, or a volume of LVM.
package struct GuestVolume: Sendable {
    /// What it is called after the image: `p2`, `VG-LV`; empty for the whole disk.
    package let name: String
    package let part: DiskPart
    /// What partitions are called by: PARTUUID and PARTLABEL; nil for others.
    package let partitionUUID: String?
    package let partitionLabel: String?
    package let size: UInt64
    /// What is there; nil for nothing that is known. The error: why that is not known, or cannot be read.
    package let info: Result<GuestFileSystemInfo?, ImageError>
    private let content: GuestVolumeContent

    /// What blkid(8) calls what is there; nil for nothing that is known.
    package var type: String? { known?.type }
    /// What is there, where that is known.
    package var known: GuestFileSystemInfo? { (try? info.get()) ?? nil }

    /// Whether a helper reads it.
    package var isHelped: Bool { if case .helped = content { true } else { false } }

    /// The file system; nil for none that is read here. Throws why it cannot be read. The first call may take as long as it takes
    /// to start a kernel.
    package func fileSystem() throws(ImageError) -> (any GuestFileSystem)? {
        switch content {
        case .fileSystem(let fileSystem): fileSystem
        case .none: nil
        case .fault(let error): throw error
        case .helped(let helper, let index): try helper.fileSystem(of: index)
        }
    }

    /// `disk`, of the image in the file `path`, as the only one.
    package static func only(_ disk: Image, path: String, helper: (any GuestHelper)? = nil) -> GuestVolume {
        GuestVolumeProbe.volumes([GuestVolumeProbe("", .whole, .success(disk))], path: path, helper)[0]
    }

    fileprivate init(
        _ probe: GuestVolumeProbe, _ info: Result<GuestFileSystemInfo?, ImageError>, _ content: GuestVolumeContent
    ) {
        (name, part, self.info, self.content) = (probe.name, probe.part, info, content)
        partitionUUID = probe.partition?.uuid
        partitionLabel = if case .gpt(_, _, _, let name)? = probe.partition?.entry { name } else { nil }
        size = (try? probe.disk.get())?.virtualSize ?? 0
    }
}

/// Where the file system of a volume comes from.
private enum GuestVolumeContent: Sendable {
    case none
    case fileSystem(any GuestFileSystem)
    case fault(ImageError)
    case helped(any HelpedVolumes, Int)
}

/// A volume whose file system is not known yet.
private struct GuestVolumeProbe {
    let name: String
    let part: DiskPart
    let disk: Result<Image, ImageError>
    let partition: Partition?

    init(_ name: String, _ part: DiskPart, _ disk: Result<Image, ImageError>, _ partition: Partition? = nil) {
        (self.name, self.part, self.disk, self.partition) = (name, part, disk, partition)
    }

    /// Whether it is an ISO 9660.
    var isOpticalDisk: Bool {
        guard let disk = try? disk.get(), let info = try? OtherFileSystem.info(on: disk) else { return false }
        return info.type == "iso9660"
    }

    /// What is on `disk`, and what of it is read here. Throws why that is not known.
    private static func content(
        of disk: Image, path: String
    ) throws(ImageError) -> (info: GuestFileSystemInfo?, content: GuestVolumeContent) {
        do throws(ImageError) {
            guard let fileSystem = try GuestFileSystems.open(disk, path: path) else {
                return (try OtherFileSystem.info(on: disk), .none)
            }
            return (fileSystem.info, .fileSystem(fileSystem))
        } catch {
            // What this program does not know of one, another may.
            guard error.code == .unsupported, let info = try OtherFileSystem.info(on: disk) else { throw error }
            return (info, .fault(error))
        }
    }

    /// What is on each of `probes`.
    static func volumes(
        _ probes: [GuestVolumeProbe], path: String, _ helper: (any GuestHelper)?
    ) -> [GuestVolume] {
        var helped: [(disk: Image, info: GuestFileSystemInfo)] = []
        var found: [(info: Result<GuestFileSystemInfo?, ImageError>, content: GuestVolumeContent, helped: Int?)] = []
        for probe in probes {
            do throws(ImageError) {
                let disk = try probe.disk.get()
                let (info, content) = try self.content(of: disk, path: path)
                guard let info, let helper, helper.reads(info.type) else {
                    found.append((.success(info), content, nil))
                    continue
                }
                let isHelped = if case .fileSystem = content { helper.isPreferred } else { true }
                if isHelped { helped.append((disk, info)) }
                found.append((.success(info), content, isHelped ? helped.count - 1 : nil))
            } catch {
                found.append((.failure(error), .fault(error), nil))
            }
        }
        let volumes = helped.isEmpty ? nil : helper?.volumes(helped, path: path)
        return zip(probes, found).map { probe, found in
            guard let volumes, let index = found.helped else { return GuestVolume(probe, found.info, found.content) }
            return GuestVolume(probe, found.info, .helped(volumes, index))
        }
    }
}

extension ImageDisks {
    /// Where the disk of the image, or that of a snapshot, may have file systems, each looked at: its partitions and volumes, or
    /// the whole disk where it has none. `helper` reads what is not read here.
    package func guestVolumes(of snapshot: Int?, helper: (any GuestHelper)? = nil) -> [GuestVolume] {
        let path = opened.layers.first?.file.path ?? ""
        func disk(_ part: DiskPart) -> Result<Image, ImageError> {
            self.disk(DiskID(snapshot: snapshot, part: part))?.result
                ?? .failure(ImageError(.outOfRange, path: path, "has no such disk"))
        }
        var found = (partitionTable(of: snapshot)?.partitions ?? []).map { partition in
            GuestVolumeProbe(
                "p\(partition.number)", .partition(partition.number), disk(.partition(partition.number)), partition)
        }
        found += volumes(of: snapshot).volumes.map { GuestVolumeProbe($0.name, .volume($0.name), $0.result) }
        let whole = GuestVolumeProbe("", .whole, disk(.whole))
        // The live images of Linux are an ISO 9660 that has partitions in it.
        if found.isEmpty || whole.isOpticalDisk, !found.contains(where: \.isOpticalDisk) { found.append(whole) }
        return GuestVolumeProbe.volumes(found, path: path, helper)
    }
}
