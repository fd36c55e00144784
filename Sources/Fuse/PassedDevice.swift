internal import CFuse3
import Glibc

/// A FUSE device that another program has opened, and mounted already: mount.fuse3 does so with `-o drop_privileges`,
/// and hands it over as a mountpoint of the form "/dev/fd/N" (fuse(8)). Where it is mounted is not known to who gets it.
public struct PassedDevice: Hashable, Sendable {
    /// The number of the descriptor.
    public let descriptor: CInt

    /// The descriptor that `mountpoint` names; nil where it is the path of a directory. Whether it is open, and the
    /// device of FUSE, `isFuse` says.
    public init?(mountpoint: String) {
        let prefix = "/dev/fd/"
        let digits = mountpoint.dropFirst(prefix.count)
        guard mountpoint.hasPrefix(prefix), digits.allSatisfy({ $0.isASCII && $0.isNumber }),
            let descriptor = CInt(digits)
        else { return nil }
        self.descriptor = descriptor
    }

    /// Whether it is an open descriptor of the device, /dev/fuse under any name, and none of the standard three.
    public var isFuse: Bool {
        var attributes = stat()
        // Safe: fstat fills a structure of ours.
        guard descriptor > STDERR_FILENO, unsafe fstat(descriptor, &attributes) == 0 else { return false }
        // The number of /dev/fuse in Linux's list of devices: misc (10), 229.
        return attributes.st_mode & S_IFMT == S_IFCHR && attributes.st_rdev == 10 << 8 | 229
    }

    /// Keeps programs that this process starts from holding the mount.
    func closeOnExec() {
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }
}
