import Dispatch
import Glibc
import Synchronization
import SystemPackage

/// A mount whose server is gone: every access to it fails with ENOTCONN, "Transport endpoint is not connected".
public struct DeadMount: Hashable, Sendable {
    /// The absolute path where it is mounted, without links.
    public let mountpoint: FilePath

    /// The dead mount at `path`, if it is of the type "fuse.subtype"; nil where there is nothing, another file system,
    /// or one that answers. Waits for a server that is slow to answer. Callable from any thread, but not about a mount
    /// that this process serves.
    public init?(at path: FilePath, subtype: String) {
        // Safe: realpath returns a C string that is ours to free, or nil.
        guard let resolved = unsafe path.withPlatformString({ unsafe realpath($0, nil) }) else { return nil }
        defer { unsafe free(resolved) }
        mountpoint = unsafe FilePath(platformString: resolved)
        guard let mounted = MountedFileSystem(at: mountpoint), mounted.type == "fuse.\(subtype)" else { return nil }
        guard Self.isDead(mountpoint) else { return nil }
    }

    private static func isDead(_ mountpoint: FilePath) -> Bool {
        var figures = statvfs()
        // The kernel may still know the attributes of the directory; the figures it always has to ask for.
        // Safe: a string of ours, and a structure of ours.
        return unsafe mountpoint.withPlatformString { unsafe statvfs($0, &figures) } != 0 && errno == ENOTCONN
    }

    /// Whether what is mounted at `mountpoint` is dead; false where it does not answer within `limit`.
    static func isDead(_ mountpoint: FilePath, within limit: DispatchTimeInterval) -> Bool {
        let answered = DispatchSemaphore(value: 0)
        let isDead = Atomic(false)
        DispatchQueue(label: "dead mount").async {
            isDead.store(self.isDead(mountpoint), ordering: .sequentiallyConsistent)
            answered.signal()
        }
        return answered.wait(timeout: .now() + limit) == .success && isDead.load(ordering: .sequentiallyConsistent)
    }

    /// Takes it away, and answers whether it is gone. Who has a file of it open keeps what there is to keep: errors. An
    /// ordinary user does it through fusermount3, which lets everyone do so to mounts of their own.
    public func remove() -> Bool {
        let before = MountedFileSystem(at: mountpoint)
        // Safe: a string of ours.
        if unsafe mountpoint.withPlatformString({ unsafe umount2($0, CInt(MNT_DETACH)) }) != 0 { unmountAsUser() }
        return MountedFileSystem(at: mountpoint) != before
    }

    private func unmountAsUser() {
        let words: [FilePath] = ["fusermount3", "-u", "-z", "-q", "--", mountpoint]
        let arguments = unsafe words.map { unsafe $0.withPlatformString { unsafe strdup($0) } } + [nil]
        defer { for index in unsafe arguments.indices { unsafe free(arguments[index]) } }
        var program: pid_t = 0
        var status: CInt = 0
        // Safe: the strings live until after the call, and the array of them ends in NULL; waitpid fills an integer.
        guard unsafe posix_spawnp(&program, arguments[0]!, nil, nil, arguments, environ) == 0 else { return }
        while unsafe waitpid(program, &status, 0) < 0 && errno == EINTR {}
    }
}
