import Foundation
import HostTools

/// A program that has an image's disk written to, and keeps the image as it is. The raw value is its name on the command line
/// and in JSON; the order is that of the table.
enum WriteServerKind: String, CaseIterable {
    case rblockfs
    case storageDaemon = "qemu-storage-daemon"
    case rblock
    case qemuNBD = "qemu-nbd"
    case nbdkit

    /// Whether it shows the disk as a file; else it serves it over NBD.
    var isMounted: Bool { self == .rblockfs || self == .storageDaemon }
    /// Whether it keeps what is written in a QCOW2 overlay.
    var hasOverlay: Bool { self != .nbdkit }
    /// Whether the overlay is one that QEMU made.
    private var isQEMU: Bool { self == .storageDaemon || self == .qemuNBD }
    /// Those that it is measured against.
    var peers: [WriteServerKind] {
        switch self {
        case .rblockfs: [.storageDaemon]
        case .rblock: [.qemuNBD, .nbdkit]
        case .storageDaemon, .qemuNBD, .nbdkit: []
        }
    }

    /// What the table calls it.
    var title: String { self == .nbdkit ? "nbdkit cow" : rawValue }

    /// Whether it reads images of this kind: nbdkit's file plugin reads raw disks.
    func serves(_ kind: ImageKind) -> Bool { self != .nbdkit || kind == .raw }
}

/// A disk that can be written to until it is let go of, with an overlay in a folder of its own.
final class WriteServer {
    /// The file, or the Unix socket.
    let place: String
    let kind: WriteServerKind
    /// The overlay; empty where there is none.
    let overlay: String
    private let mount: ServedFile?
    private let server: BackgroundServer?

    /// Starts it for `image` of `disk`, with everything it makes in `folder`. Throws where it is not installed, or does not
    /// come to be ready.
    init(
        _ kind: WriteServerKind, _ image: DiskImage, of disk: GuestDisk, in folder: String, _ programs: WritePrograms
    ) throws {
        self.kind = kind
        let name = image.path.split(separator: "/").last ?? ""
        let overlays = "\(folder)/overlays"
        let isOurs = kind == .rblockfs || kind == .rblock
        overlay = isOurs ? "\(overlays)/\(name).overlay.qcow2" : kind.hasOverlay ? "\(folder)/overlay.qcow2" : ""
        if kind.hasOverlay, !isOurs {
            try Tool.check(
                "qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=64k", "-b", image.path,
                "-F", image.kind.format, overlay)
        }
        let (mountpoint, socket) = ("\(folder)/mnt", "\(folder)/socket")
        switch kind {
        case .rblockfs:
            mount = try ServedFile(
                [programs.rblockfs, "--foreground", "--overlay", overlays, image.path, mountpoint],
                mountpoint: mountpoint, shown: "\(name)/disk.raw", size: disk.size)
        case .storageDaemon:
            mount = try ServedFile(
                [
                    "qemu-storage-daemon", "--blockdev",
                    "driver=qcow2,node-name=disk,file.driver=file,file.filename=\(overlay)",
                    "--export", "type=fuse,id=export,node-name=disk,writable=on,mountpoint=\(mountpoint)",
                ], mountpoint: mountpoint, shown: "", size: disk.size)
        default: mount = nil
        }
        place = mount?.path ?? socket
        switch kind {
        case .rblock:
            server = try BackgroundServer(
                [
                    programs.rblock, "serve", "--format", image.kind.format, "--overlay", overlays, "--nbd",
                    "unix:\(socket)", image.path,
                ], place: "\(folder)/server")
        case .qemuNBD:
            server = try BackgroundServer(
                ["qemu-nbd", "-t", "-e", "16", "-f", "qcow2", "-k", socket, overlay], place: "\(folder)/server")
        case .nbdkit:
            server = try BackgroundServer(
                ["nbdkit", "-f", "-U", socket, "--filter=cow", "file", image.path], place: "\(folder)/server")
        default: server = nil
        }
        try server?.awaitReadiness { NBDWorkload.isListening(socket) }
    }

    deinit {
        end()
    }

    /// Ends it; does nothing the second time.
    func end() {
        mount?.end()
        server?.end()
    }
}

/// The programs of this package that are measured.
struct WritePrograms {
    var rblockfs: String
    var rblock: String
}
