import HostTools

/// What shows an image as a flat file. The raw value is its name on the command line and in JSON.
enum ServerKind: String, CaseIterable {
    case rblockfs
    /// The same, where the kernel reads the image's file by itself.
    case passthrough
    /// The same, where it reads the image's files by a map of the disk.
    case map
    /// The same, where disks can be written to, and nothing was written.
    case overlay
    /// The C program of this package that does the least that a FUSE server can.
    case floor = "libfuse-loop"
    case storageDaemon = "qemu-storage-daemon"
    case nbdfuse, vmdkmount, qcowmount
    case bareFile = "bare-file"

    /// What --quick measures.
    static let quick: [ServerKind] = [.rblockfs, .passthrough, .map, .floor, .storageDaemon, .bareFile]

    /// What the table calls it.
    var title: String {
        switch self {
        case .passthrough: "rblockfs passthrough"
        case .map: "rblockfs map"
        case .overlay: "rblockfs --overlay"
        case .floor: "C libfuse loop"
        case .nbdfuse: "qemu-nbd + nbdfuse"
        case .bareFile: "bare file"
        default: rawValue
        }
    }

    /// Whether the run has failed when it cannot be measured: those of this package can read everything.
    var mustWork: Bool { self == .rblockfs || self == .overlay || self == .floor || self == .bareFile }

    /// Whether the run has failed when it shows something else than the disk. qcowmount, for one, shows an overlay without
    /// what is under it.
    var mustBeRight: Bool { self != .vmdkmount && self != .qcowmount }

    /// Whether it is one for images of this kind at all.
    func serves(_ kind: ImageKind) -> Bool {
        switch self {
        case .passthrough: kind == .raw
        case .map: kind.isMapped
        case .vmdkmount: kind.format == "vmdk"
        case .qcowmount: kind.format == "qcow2"
        default: true
        }
    }

    /// Starts it for `image` of `disk`. Throws where it is not installed, or does not open the image.
    func start(_ image: DiskImage, of disk: GuestDisk, programs: Programs, in folder: TemporaryFolder) throws
        -> ServedFile
    {
        if self == .bareFile { return ServedFile(bare: disk.path) }
        let mountpoint = folder.file("mount-\(image.kind.rawValue)-\(rawValue)")
        let name = image.path.split(separator: "/").last ?? ""
        let shown: String
        let command: [String]
        switch self {
        case .rblockfs, .passthrough, .map:
            let path = self == .passthrough ? "require" : self == .map ? "map" : "off"
            shown = "\(name)/disk.raw"
            command = [programs.rblockfs, "--foreground", "--kernel-path", path, image.path, mountpoint]
        case .overlay:
            shown = "\(name)/disk.raw"
            let overlays = folder.file("overlays-\(image.kind.rawValue)")
            command = [programs.rblockfs, "--foreground", "--overlay", overlays, image.path, mountpoint]
        case .floor: (shown, command) = ("disk.raw", [programs.floor, disk.path, mountpoint])
        case .storageDaemon:
            // It mounts on a file. A comma in a value is doubled.
            let file = image.path.replacing(",", with: ",,")
            shown = ""
            command = [
                "qemu-storage-daemon", "--blockdev",
                "driver=\(image.kind.format),node-name=disk,read-only=on,file.driver=file,file.filename=\(file)",
                "--export", "type=fuse,id=export,node-name=disk,mountpoint=\(mountpoint.replacing(",", with: ",,"))",
            ]
        case .nbdfuse:
            shown = "disk.raw"
            command = [
                "nbdfuse", "-r", "\(mountpoint)/\(shown)", "[", "qemu-nbd", "-r", "-e", "4", "-f", image.kind.format,
                image.path, "]",
            ]
        case .vmdkmount: (shown, command) = ("vmdk1", ["vmdkmount", image.path, mountpoint])
        case .qcowmount: (shown, command) = ("qcow1", ["qcowmount", image.path, mountpoint])
        case .bareFile: return ServedFile(bare: disk.path)
        }
        return try ServedFile(command, mountpoint: mountpoint, shown: shown, size: disk.size)
    }
}

/// The programs of this package that are measured.
struct Programs {
    var rblockfs: String
    var floor: String
}

/// A server of NBD. The raw value is its name on the command line and in JSON; the order is that of the table.
enum NBDServerKind: String, CaseIterable {
    case rblock
    case qemu = "qemu-nbd"
    case nbdkit

    /// Whether it reads images of this kind: nbdkit's file plugin reads raw disks, and no plugin of it the others.
    func serves(_ kind: ImageKind) -> Bool { self != .nbdkit || kind == .raw }

    /// The command that serves `image` at the Unix socket `socket`, with the options that make it fastest.
    func command(_ image: DiskImage, at socket: String, rblock: String) -> [String] {
        switch self {
        case .rblock: [rblock, "serve", "--format", image.kind.format, "--nbd", "unix:\(socket)", image.path]
        // For as many clients as there are connections, which it allows one of otherwise.
        case .qemu: ["qemu-nbd", "-r", "-t", "-e", "16", "-f", image.kind.format, "-k", socket, image.path]
        case .nbdkit: ["nbdkit", "-f", "-r", "-U", socket, "file", image.path]
        }
    }
}
