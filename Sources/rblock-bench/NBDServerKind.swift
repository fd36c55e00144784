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
