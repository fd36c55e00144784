import ArgumentParser
import Attachment
import BlockImage
import Catalog
import HostStorage
import LVM
import Reports
import SystemPackage

/// `rblock mount`: the files of a guest.
struct Mount: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Mount a file system of an image for reading.",
        usage: "rblock mount [<options>] <IMAGE>[:<PARTITION>] <DIR>",
        discussion: """
            Attaches the disk as 'rblock attach' does, finds its file system with blkid(8), and mounts it with mount(8). Without \
            PARTITION the only file system of the disk is mounted; where there are several, or volumes of LVM besides, they are \
            listed, and the status is 3. IMAGE/p2 is IMAGE:2. 'rblock unmount' ends it. If mounting fails nothing stays attached.

            It is mounted with the options ro, nosuid and nodev: programs that set the user ID of others, and device nodes, have \
            no such effect. Those of -o come after these. Nothing is ever written to the image. So of a disk that was copied \
            while its guest ran, or whose guest has crashed, the journal is left alone: it is mounted with noload (ext3, ext4), \
            norecovery (XFS) or rescue=nologreplay (btrfs), and a warning says that the last changes may be missing. XFS is \
            mounted with nouuid, so that several copies can be mounted at once.

            A volume of LVM is mounted by its name, IMAGE/VG-LV, as 'rblock info IMAGE' lists it. Physical volumes of LVM, \
            members of a RAID, encrypted partitions and swap space cannot be mounted by themselves: the message says what they \
            are, and what can be done.

            A file system that you do not trust is safer in a virtual machine: the kernel's own code reads it. Only root can \
            mount. For an ordinary user the message has the commands of rblockfs(1) that show the disk as a file.

            EXAMPLES
              # the only file system, also of a running or crashed guest
              rblock mount disk.qcow2 /mnt/guest
              ls /mnt/guest
              rblock unmount /mnt/guest
              # of several, the one of the second partition; of a snapshot
              rblock mount disk.qcow2:2 /mnt/guest
              rblock mount disk.qcow2@daily:2 /mnt/guest
              # a volume of LVM
              rblock mount disk.qcow2/ubuntu--vg-ubuntu--lv /mnt/guest
              # nothing of it may be executed
              rblock mount -o noexec shop.ova /mnt/guest

            ENVIRONMENT
              RBLOCK_RUN
                  the folder that keeps what is attached in mind; /run/rblock where it
                  is not set

            EXIT STATUS
              0   mounted
              1   the image cannot be read, has no file system that can be mounted, or
                  the system refused it
              3   there are several file systems, or volumes: they are listed
              64  wrong usage
              77  only root can mount

            SEE ALSO
              rblock(1), rblock-attach(1), rblock-attached(1), rblock-unmount(1),
              rblockfs(1), rblock-json(5), rblock-names(7), blkid(8), mount(8)
            """)

    @OptionGroup var attaching: AttachmentOptions
    @Option(
        name: .customShort("o"),
        help: ArgumentHelp("Mount options, besides ro, nosuid and nodev. Repeatable.", valueName: "option,..."))
    var mountOptions: [String] = []
    @Option(help: ArgumentHelp("human: nothing; or json: what is mounted, and where.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The image, and the number of a partition.", valueName: "IMAGE"), completion: .file())
    var image: String
    @Argument(help: ArgumentHelp("The directory to mount on.", valueName: "DIR"), completion: .directory)
    var directory: String

    private var options: [String] { mountOptions.flatMap { $0.split(separator: ",").map(String.init) } }

    func validate() throws {
        if options.contains("rw") { throw ValidationError("-o rw: an image is never written to") }
    }

    /// The image with the name that its partition has for every verb.
    private var disk: String {
        guard (try? FileStatus(at: FilePath(text: image))) == nil, let mark = image.lastIndex(of: ":") else {
            return image
        }
        var number = image[image.index(after: mark)...]
        if number.hasPrefix("p") { number = number.dropFirst() }
        guard let value = Int(number), value > 0, "\(value)" == number else { return image }
        return "\(image[..<mark])/p\(value)"
    }

    func run() throws {
        var isAmbiguous = false
        try Failure.reported(as: output, filename: image) {
            try attaching.checkRoot(
                disk, "can mount file systems",
                " (and 'rblock ls' and 'rblock cp' read the files of ext2, ext3, ext4 and FAT)")
            _ = try GuestMount.directory(directory)
            isAmbiguous = try !mount(try attaching.disk(disk))
        }
        if isAmbiguous { throw ExitCode(3) }
    }

    /// Mounts the only file system of `disk`; where there are several, lists them and answers false.
    private func mount(_ disk: AttachmentOptions.Chosen) throws -> Bool {
        let folder = AttachmentFolder.usual
        var record = try folder.begin(disk.wanted)
        do {
            let found = try MountableFileSystems(on: record)
            // Its only file system may lie on its only volume.
            if found.mountable.isEmpty, disk.volumes.count == 1 {
                folder.abandon(record)
                return try mount(try attaching.disk("\(image)/\(disk.volumes[0].name)"))
            }
            guard let chosen = try found.only(of: image, disk.volumes) else {
                folder.abandon(record)
                try report(found, disk.volumes)
                return false
            }
            let notes = try mount(chosen, folder, &record)
            try disk.checkUnchanged()
            try folder.complete(&record)
            AttachmentFolder.warn(record)
            for note in notes { Failure.warn("\(image): \(note)") }
            if output == .json { try writeJSON(AttachmentReport(record, .mounted, notes: notes)) }
            return true
        } catch {
            folder.abandon(record)
            throw error
        }
    }

    private func mount(
        _ chosen: MountableFileSystems.Found, _ folder: AttachmentFolder, _ record: inout AttachmentRecord
    ) throws(ImageError) -> [String] {
        let mount = try GuestMount(chosen.device, type: chosen.probe.type, at: directory, options: options)
        var changed = record
        // Where it throws as well: it may be mounted.
        defer { record = changed }
        return try mount.mount { mounted throws(ImageError) in try folder.note(mounted, of: &changed) }
    }

    /// Lists the file systems of which one is to be chosen.
    private func report(_ found: MountableFileSystems, _ volumes: [DiskVolumes.Volume]) throws {
        let choices =
            found.mountable.map { $0.choice }
            + volumes.map { MountChoiceReport.Choice(volume: $0.name, size: $0.volume.size) }
        let message =
            "\(image): has \(choices.count) "
            + (volumes.isEmpty
                ? "file systems: choose one of them, as IMAGE:PARTITION"
                : "partitions and volumes that may be meant: choose one of them")
        Failure.say(message)
        for choice in choices {
            let label = choice.label.map { "  \"\($0)\"" } ?? ""
            let name = choice.volume.map { "\(image)/\($0)" } ?? "\(image):\(choice.partition ?? 0)"
            Failure.say(
                "  \(shellWord(name))  \(choice.type ?? "volume of LVM")  \(humanSize(choice.size))\(label)")
        }
        if output == .json { try writeJSON(MountChoiceReport(filename: image, message: message, choices)) }
    }
}

/// The file systems, and what else there is, on the devices of a disk.
struct MountableFileSystems {
    /// What is on one of them.
    struct Found {
        var partition: Int?
        var device: String
        var size: UInt64
        var probe: FileSystemProbe

        var choice: MountChoiceReport.Choice {
            MountChoiceReport.Choice(
                partition: partition, type: probe.type, label: probe.label, uuid: probe.uuid, size: size)
        }
    }

    private var all: [Found] = []
    private var faults: [ImageError] = []

    /// Those that can be mounted.
    var mountable: [Found] { all.filter(\.probe.isFileSystem) }

    /// Looks at the partitions of `record`, or, where there are none, or nothing is on them, at the disk.
    init(on record: AttachmentRecord) throws(ImageError) {
        for partition in record.partitions { add(partition.number, partition.device, partition.size) }
        if all.isEmpty, let device = record.device { add(nil, device, record.size) }
    }

    private mutating func add(_ partition: Int?, _ device: String, _ size: UInt64) {
        do throws(ImageError) {
            guard let probe = try FileSystemProbe(of: device) else { return }
            all.append(Found(partition: partition, device: device, size: size, probe: probe))
        } catch {
            faults.append(error)
        }
    }

    /// The only one that can be mounted; nil where there are several, or `volumes` besides. Throws where there is none, with what
    /// there is.
    func only(of image: String, _ volumes: [DiskVolumes.Volume]) throws(ImageError) -> Found? {
        if mountable.count + volumes.count > 1 { return nil }
        if let only = mountable.first { return only }
        if all.isEmpty, let fault = faults.first { throw fault }
        let rest = all.map { found in
            let place = found.partition.map { "partition \($0) " } ?? ""
            return place + found.probe.advice(found.device)
        }
        let what = rest.isEmpty ? "nothing that blkid(8) knows is on it" : rest.joined(separator: "; ")
        throw ImageError(.unsupported, path: image, "has no file system that can be mounted: \(quoting: what)")
    }
}
