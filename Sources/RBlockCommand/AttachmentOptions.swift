import ArgumentParser
import Arguments
import Attachment
import BlockImage
import Catalog
import Glibc
import HostStorage
import ImageFormats
import PartitionTable
import SystemPackage

/// What is said to verbs that make a block device of a disk.
struct AttachmentOptions: ParsableArguments {
    @OptionGroup var options: ImageOptions
    @OptionGroup var sharing: SharingOption
    @Option(
        name: .customLong("as"),
        help: ArgumentHelp(
            "What it is called, to detach it; by default as the image, with a number behind it where that is taken.",
            valueName: "name"))
    var name: String?
    @Option(
        help: ArgumentHelp("Take the disk of this internal snapshot (its name, or else its ID).", valueName: "name"))
    var snapshot: String?

    func validate() throws {
        if let name, let fault = AttachmentFolder.fault(inName: name) {
            throw ValidationError("--as: the name \(fault)")
        }
    }

    /// A disk that is to be attached.
    struct Chosen {
        let wanted: DiskToAttach
        /// The volumes of LVM on it that can be read; none where only a part of the disk was named.
        let volumes: [DiskVolumes.Volume]
        /// Throws where the image was written to since it was opened.
        let checkUnchanged: () throws(ImageError) -> Void
    }

    /// The disk of the image at `path`, to be attached. Throws where another program is writing to it.
    func disk(_ path: String) throws -> Chosen {
        let image = try options.image(path).choosing(snapshot: snapshot)
        let disks = ImageDisks(of: try image.open())
        let id = try image.find(in: disks)
        let disk = NamedDisk(
            image: try image.disk(of: disks).result.get(), opened: disks.opened(for: id), onNote: image.onNote)
        try sharing.checkUse(of: disk.files)
        let mounted = try image.mountPath(of: id, in: disks)
        let server = AttachedServer(
            options: serverOptions(isContained: image.isInContainer), image: mounted.image.text, file: mounted.file)
        let table = Self.table(of: disk.image, id)
        let wanted = DiskToAttach(
            name: name, usualName: AttachmentFolder.name(for: image.path.text, place: image.place.text),
            image: snapshot == nil ? path : image.path.text + image.place.text, path: image.path.text, disk: disk.image,
            files: disk.files,
            flatPlace: try? disk.image.flatPlace(), server: server,
            sectorSize: table.sectorSize, partitions: table.partitions)
        let ignoresChanges = sharing.forceShare
        let volumes = id.part == .whole ? disks.volumes(of: id.snapshot).volumes.filter(\.isReadable) : []
        return Chosen(
            wanted: wanted, volumes: volumes,
            checkUnchanged: { () throws(ImageError) in if !ignoresChanges { try disk.checkUnchanged() } })
    }

    /// The arguments of rblockfs that have it open an image as this verb does.
    private func serverOptions(isContained: Bool) -> [String] {
        var arguments: [String] = []
        if let format = options.format, !isContained { arguments += ["--format", format.rawValue] }
        arguments += options.allowPaths.flatMap { ["--allow-path", $0] }
        arguments += options.secrets.flatMap { ["--secret", $0.argument] }
        if options.ignoreParentID { arguments.append("--ignore-parent-id") }
        if options.slowKeys { arguments.append("--slow-keys") }
        return arguments
    }

    /// The partitions of a whole disk, and the bytes of the sectors that its table counts in, or, without a table, its image.
    private static func table(
        of disk: Image, _ id: DiskID
    ) -> (sectorSize: UInt64, partitions: [(number: Int, bytes: LoopDevice.Range)]) {
        let said = disk.layer.logicalSectorSize.map { UInt64($0) } ?? LoopDevice.usualSectorSize
        switch id.part {
        case .partition, .volume, .vmState: return (said, [])
        case .whole, .layer:
            let table = PartitionTable(of: disk)
            let partitions = table.partitions.map {
                ($0.number, LoopDevice.Range(offset: $0.start.rawValue, count: $0.size))
            }
            return (table.partitions.isEmpty ? said : UInt64(table.sectorSize.rawValue), partitions)
        }
    }

    /// Throws for an ordinary user, who gets the commands that show the same of the image at `path` as a file; `purpose`:
    /// what takes root, and `what` comes after the name of the file.
    func checkRoot(_ path: String, _ purpose: String, _ what: String) throws {
        guard geteuid() != 0 else { return }
        let image = try options.image(path).choosing(snapshot: snapshot)
        let disks = ImageDisks(of: try image.open())
        let mounted = try image.mountPath(of: try image.find(in: disks), in: disks)
        let words = ["rblockfs"] + serverOptions(isContained: image.isInContainer) + [mounted.image.text]
        let file = "~/rblock/" + shellWord(mounted.file.text)
        throw Failure(
            "only root \(purpose); without root, 'mkdir -p ~/rblock && \(words.map(shellWord).joined(separator: " ")) "
                + "~/rblock' shows it as the file \(file)\(what), and 'fusermount3 -u ~/rblock' ends that",
            status: 77, code: "denied")
    }
}

extension NamedImage {
    /// The same, of which the snapshot `name` is meant, if it is not nil.
    fileprivate func choosing(snapshot name: String?) throws(ImageError) -> NamedImage {
        var image = self
        try image.choose(snapshot: name)
        return image
    }
}

extension AttachmentFolder {
    /// That of this system. What is removed because it was left behind is reported.
    static var usual: AttachmentFolder { AttachmentFolder { Failure.say($0) } }

    /// That of this system, for root. Throws for an ordinary user.
    static func forRoot(_ purpose: String) throws(Failure) -> AttachmentFolder {
        guard geteuid() == 0 else { throw Failure("only root \(purpose)", status: 77, code: "denied") }
        return usual
    }

    /// Says what is not right with what was attached as `record` shows it.
    static func warn(_ record: AttachmentRecord) {
        guard record.size < record.diskSize else { return }
        Failure.warn(
            "\(record.image): has \(record.diskSize) bytes, which are no whole sectors: the last "
                + "\(record.diskSize - record.size) are not on the device")
    }
}
