internal import CFuse3
import Glibc
import Synchronization

/// What the kernel reads by itself for one session: files of the host that were registered, for open files of the mount
/// (FUSE passthrough, Linux 6.9). No read of these comes to the session. Every method may be called from any thread.
public final class Passthrough: Sendable {
    /// Whether the session has asked for it, and the kernel has it.
    public let isAgreed: Bool
    /// The device of the session; nil once that has ended.
    private let device: Mutex<CInt?>

    init(device: CInt, isAgreed: Bool) {
        self.isAgreed = isAgreed
        self.device = Mutex(device)
    }

    /// Registers the file that is open as `descriptor`, which may be closed afterwards: the kernel opens the same file for
    /// itself, with the flags of who opens the file of the mount, and with the rights of this process.
    ///
    /// Throws `notSupported` where the session has no passthrough; what the kernel answers otherwise: EPERM without
    /// CAP_SYS_ADMIN, ELOOP for a file of a file system that is stacked on others, EINVAL for what is no regular file.
    public func register(_ descriptor: CInt) throws(ErrorNumber) -> BackingFile {
        guard isAgreed else { throw .notSupported }
        let number = device.withLock { device in
            // After the end there is nothing to open a file of.
            device.map { cfuse3_open_backing($0, descriptor) } ?? -ENOTCONN
        }
        guard number > 0 else { throw ErrorNumber(rawValue: number == 0 ? EIO : -number) }
        return BackingFile(number, of: self)
    }

    /// Finds out whether this process may register files, with one in memory. Throws as `register` does.
    public func check() throws(ErrorNumber) {
        guard isAgreed else { throw .notSupported }
        let file = cfuse3_memory_file()
        guard file >= 0 else { throw ErrorNumber(rawValue: -file) }
        defer { close(file) }
        _ = try register(file)
    }

    fileprivate func forget(_ number: CInt) {
        device.withLock { device in
            if let device { cfuse3_close_backing(device, number) }
        }
    }

    /// The session ends, and its device with it: the number of the descriptor may be that of another file then.
    func end() {
        device.withLock { $0 = nil }
    }
}

/// A file that the kernel may read for open files of a mount; until the last reference goes. A file of the mount that is open
/// through it by then is read on. The kernel takes one of them at a time for the same inode.
public final class BackingFile: Sendable {
    /// The kernel's number of it.
    let number: CInt
    private let passthrough: Passthrough

    fileprivate init(_ number: CInt, of passthrough: Passthrough) {
        self.number = number
        self.passthrough = passthrough
    }

    deinit {
        passthrough.forget(number)
    }
}
