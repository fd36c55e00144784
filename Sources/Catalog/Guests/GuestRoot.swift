import BlockImage
import GuestFiles

/// Which of the file systems of an image has the root directory of its guest, and what its /etc/fstab mounts.
struct GuestRoot {
    /// A directory that is the topmost of a tree: that of a file system, or of a subvolume of btrfs.
    struct Place: Hashable, Sendable {
        var volume: Int
        var file: GuestFileID
    }

    /// The root.
    let place: Place
    /// What is mounted in it, and where. The error: why it cannot be read.
    private(set) var mounts: [[[UInt8]]: Result<Place, ImageError>] = [:]
    /// What is to be mounted that is not in the image.
    private(set) var absent: [ErrorText] = []

    /// The subvolumes in which distributions have their root, where it is not the topmost directory.
    private static let subvolumes = ["root", "@", "@rootfs"]

    /// That of the guest on `volumes`, those of the image `image`.
    ///
    /// Throws `outOfRange` where none is surely its root, and why none can be read.
    init(of volumes: [GuestVolume], image: String) throws(ImageError) {
        place = try Self.root(of: volumes, image)
        guard let fileSystem = try volumes[place.volume].fileSystem() else { return }
        for entry in Self.table(of: fileSystem, place.file).entries where !entry.directory.isEmpty {
            guard Self.isOnDisk(entry) else { continue }
            do throws(ImageError) {
                if let found = try Self.place(of: entry, in: volumes, image) {
                    guard found != place else { continue }
                    // One file system in two places would be a directory with two names.
                    if mounts.values.contains(where: { (try? $0.get()) == found }) || mounts[entry.directory] != nil {
                        absent.append(
                            "\(quoting: entry.device) is mounted a second time by its /etc/fstab, which is not shown")
                    } else {
                        mounts[entry.directory] = .success(found)
                    }
                } else {
                    let directory = "/" + nameText(Array(entry.directory.joined(separator: [UInt8(ascii: "/")])))
                    absent.append(
                        "\(quoting: entry.device), which its /etc/fstab mounts on \(quoting: directory), is not in the image: the directory under it is shown"
                    )
                }
            } catch {
                mounts[entry.directory] = .failure(error)
            }
        }
    }

    // MARK: The root

    private static func root(of volumes: [GuestVolume], _ image: String) throws(ImageError) -> Place {
        var roots: [Place] = []
        var readable: [Place] = []
        var failure: ImageError?
        // What needs a kernel is opened only where nothing else is the root.
        for isHelped in [false, true] where roots.isEmpty {
            for index in volumes.indices where volumes[index].isHelped == isHelped {
                do throws(ImageError) {
                    guard let fileSystem = try volumes[index].fileSystem() else { continue }
                    let top = Place(volume: index, file: fileSystem.root)
                    readable.append(top)
                    roots += Self.roots(in: fileSystem).map { Place(volume: index, file: $0) }
                } catch {
                    failure = failure ?? error
                }
            }
        }
        if let root = roots.first, roots.count == 1 { return root }
        if roots.isEmpty, let failure { throw failure }
        // Another that is not read may be the root.
        if let only = readable.first, readable.count == 1, roots.isEmpty,
            volumes.indices.allSatisfy({ $0 == only.volume || volumes[$0].type == nil || volumes[$0].type == "swap" })
        {
            return only
        }
        throw ImageError(
            .outOfRange, path: image,
            roots.isEmpty
                ? "which file system is the root of its guest is not known; \(GuestVolume.list(volumes))"
                : "has several guests; \(GuestVolume.list(roots.map { volumes[$0.volume] }))",
            hint: readable.first.map {
                let name = volumes[$0.volume].name
                return "'\(shellWord("\(image):\(name.isEmpty ? "" : "\(name):")/"))' names one"
            })
    }

    /// The directories of `fileSystem` that are those of a guest.
    private static func roots(in fileSystem: any GuestFileSystem) -> [GuestFileID] {
        if isRoot(fileSystem.root, of: fileSystem) { return [fileSystem.root] }
        guard fileSystem.info.type == "btrfs" else { return [] }
        return subvolumes.compactMap { find([Array($0.utf8)], in: fileSystem) }.filter { isRoot($0, of: fileSystem) }
    }

    /// Whether `directory` has a table of mounts, or the directories of a Unix.
    private static func isRoot(_ directory: GuestFileID, of fileSystem: any GuestFileSystem) -> Bool {
        if !table(of: fileSystem, directory).entries.isEmpty { return true }
        return ["etc", "usr", "bin"].filter { find([Array($0.utf8)], in: fileSystem, from: directory) != nil }.count
            >= 2
    }

    // MARK: What the guest mounts

    private static func table(of fileSystem: any GuestFileSystem, _ root: GuestFileID) -> FileSystemTable {
        guard let file = find(["etc", "fstab"].map { Array($0.utf8) }, in: fileSystem, from: root),
            let content = try? fileSystem.open(file), content.size <= 1 << 20,
            let bytes = try? content.bytes()
        else { return FileSystemTable([]) }
        return FileSystemTable(bytes)
    }

    /// The file at `path`; nil where there is none, or it cannot be read.
    private static func find(
        _ path: [[UInt8]], in fileSystem: any GuestFileSystem, from start: GuestFileID? = nil
    ) -> GuestFileID? {
        var file = start ?? fileSystem.root
        for name in path {
            guard (try? fileSystem.status(of: file).kind) == .directory,
                let next = (try? fileSystem.find(name, in: file)) ?? nil
            else { return nil }
            file = next
        }
        return file
    }

    /// Whether it is a file system on a disk that is mounted when the guest starts.
    private static func isOnDisk(_ entry: FileSystemTable.Entry) -> Bool {
        guard entry.type != "swap", entry.type != "none", !entry.options.contains("noauto"),
            !entry.options.contains("bind")
        else { return false }
        return entry.device.hasPrefix("/dev/") || entry.device.utf8.contains(UInt8(ascii: "="))
    }

    /// What `entry` mounts; nil where it is not in the image. Throws why it cannot be read.
    private static func place(
        of entry: FileSystemTable.Entry, in volumes: [GuestVolume], _ image: String
    ) throws(ImageError) -> Place? {
        guard let index = volumes.indices.first(where: { isMeant(volumes[$0], by: entry.device) }) else { return nil }
        let fileSystem = try volumes[index].readable(in: image)
        guard let option = entry.options.first(where: { $0.hasPrefix("subvol=") }) else {
            if let other = entry.options.first(where: { $0.hasPrefix("subvolid=") && $0 != "subvolid=5" }) {
                throw ImageError(
                    .unsupported, path: image,
                    "its /etc/fstab names a subvolume by its number alone (\(quoting: other))")
            }
            return Place(volume: index, file: fileSystem.root)
        }
        let path = option.dropFirst("subvol=".count).split(separator: "/").map { String($0).nameBytes }
        return find(path, in: fileSystem).map { Place(volume: index, file: $0) }
    }

    private static func isMeant(_ volume: GuestVolume, by device: String) -> Bool {
        if let mark = device.firstIndex(of: "=") {
            var value = device[device.index(after: mark)...]
            if value.first == "\"", value.last == "\"", value.count > 1 { value = value.dropFirst().dropLast() }
            switch device[..<mark] {
            case "UUID": return volume.known?.uuid?.lowercased() == value.lowercased()
            case "LABEL": return volume.known?.label == String(value)
            case "PARTUUID": return volume.partitionUUID?.lowercased() == value.lowercased()
            case "PARTLABEL": return volume.partitionLabel == String(value)
            default: return false
            }
        }
        let words = device.split(separator: "/").dropFirst().map(String.init)
        if words.count == 2, words[0] == "mapper" { return volume.name == words[1] }
        if words.count == 2 { return volume.part == .volume("\(words[0])-\(words[1])") }
        // sda2, vda2, nvme0n1p2: the first disk is this one.
        guard words.count == 1, case .partition(let number) = volume.part else { return false }
        return ["sda", "vda", "xvda", "hda", "nvme0n1p", "mmcblk0p"].contains { "\($0)\(number)" == words[0] }
    }
}

extension GuestVolume {
    /// What `volumes` have, for errors.
    static func list(_ volumes: [GuestVolume]) -> ErrorText {
        let parts: [ErrorText] = volumes.map { volume in
            let label: ErrorText = volume.known?.label.map { " \(quoting: $0)" } ?? ""
            return "\(volume.title): \(volume.type ?? "nothing that is known")\(label)"
        }
        return "it has \(ErrorText(parts, separator: ", "))"
    }

    /// What it is called in errors.
    var title: String { name.isEmpty ? "the disk" : name }

    /// Its file system. Throws `unsupported` for one that is not read here, and why another cannot be.
    func readable(in image: String) throws(ImageError) -> any GuestFileSystem {
        if let fileSystem = try fileSystem() { return fileSystem }
        throw ImageError(
            .unsupported, path: image,
            "\(title) has no file system that is read here, but \(type ?? "nothing that is known")")
    }
}

extension GuestFileContent {
    /// All of it. Throws what reading throws.
    package func bytes() throws(ImageError) -> [UInt8] {
        let count = Int(clamping: size)
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try read(count, at: 0, into: &output) }
        return buffer.array
    }
}
