import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A folder that is held open, so that what is below it stays below it whatever its path leads to; but where another
/// folder, and no link, has come to that path, because the first was deleted and made anew or something was mounted
/// there, that one is taken. Every method may be called from any thread.
final class FolderHandle: Sendable {
    /// One folder, open.
    private final class Open: Sendable {
        let handle: FileDescriptor
        let identity: FileIdentity

        /// Takes over `handle`.
        init(_ handle: FileDescriptor) throws(Errno) {
            self.handle = handle
            do throws(Errno) {
                identity = try FileStatus(handle).identity
            } catch {
                try? handle.close()
                throw error
            }
        }

        deinit {
            try? handle.close()
        }

        /// An O_PATH descriptor of what `path`, without links, names below the folder.
        func find(_ path: FilePath) throws(Errno) -> FileDescriptor {
            // Safe: the C function only reads the NUL-terminated string.
            let found = unsafe (path.isEmpty ? "." : path).withPlatformString {
                unsafe clinux_find_beneath(handle.rawValue, $0)
            }
            guard found >= 0 else { throw Errno(rawValue: errno) }
            return FileDescriptor(rawValue: found)
        }
    }

    private let location: FilePath
    private let open: Guarded<Open>

    /// The folder at `location`, absolute and without links.
    init(_ location: FilePath) throws {
        self.location = location
        open = Guarded(try Open(.open(location, .readOnly, options: [.directory, .closeOnExec])))
    }

    /// An O_PATH descriptor of what `path`, without links, names below the folder; throws ELOOP where a link has come
    /// there since.
    func find(_ path: FilePath) throws(Errno) -> FileDescriptor {
        try current().find(path)
    }

    private func current() -> Open {
        let known = open.withLock { $0 }
        // Not under the lock: the host may not answer.
        guard let status = try? FileStatus(at: location, followingLinks: false), status.kind == .folder,
            status.identity != known.identity, let new = try? opened()
        else { return known }
        open.withLock { $0 = new }
        return new
    }

    /// The folder that the path leads to now, if there is no link on the way.
    private func opened() throws -> Open {
        let root = try Open(.open(FilePath("/"), .readOnly, options: [.directory, .closeOnExec]))
        var path = location
        path.root = nil
        return try Open(try root.find(path))
    }
}
