import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// A folder of overlays that is open, and locked until this goes. Every method may be called from any thread.
final class FolderLock: Sendable {
    /// Who works in it.
    enum Holder {
        /// A server, which has it alone.
        case server
        /// One of those that work at single overlays, and do not keep each other out.
        case tool
    }

    /// Where it is, without links.
    let location: FilePath
    private let handle: FileDescriptor

    /// The folder at `location`, for `holder`. Throws `system`, with EBUSY where another program has it.
    init(_ location: FilePath, for holder: Holder) throws(ImageError) {
        self.location = location
        do {
            handle = try FileDescriptor.open(location, .readOnly, options: [.directory, .closeOnExec])
        } catch {
            throw ImageError(
                .system(errno: ((error as? Errno) ?? .ioError).rawValue), path: location.text,
                "open the folder: \(error)"
            )
        }
        guard flock(handle.rawValue, (holder == .server ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 else {
            let code = errno
            // With all of this object set, its end closes the folder.
            throw code == EWOULDBLOCK
                ? ImageError(
                    .system(errno: EBUSY), path: location.text,
                    holder == .server ? "another program has these overlays" : "a server has these overlays in use",
                    hint: "unmount, or end, that one first")
                : ImageError(
                    .system(errno: code), path: location.text,
                    "cannot be locked, and so another server cannot be kept from it: \(Errno(rawValue: code))",
                    hint: "overlays must be in a folder of a file system that has locks (flock(2))")
        }
    }

    deinit {
        try? handle.close()
    }

    /// What is at `path`, in the folder or in one below it; nil for nothing.
    ///
    /// Throws `denied` where a link is on the way there: what is written goes nowhere else.
    func status(of path: FilePath) throws(ImageError) -> FileStatus? {
        var name = path
        guard name.removePrefix(location) else { return nil }
        do throws(Errno) {
            return try FileStatus(of: name, below: handle)
        } catch {
            switch error {
            case .noSuchFileOrDirectory, .notDirectory: return nil
            case Errno(rawValue: ELOOP):
                throw ImageError(
                    .denied, path: path.text,
                    "is a link, or a link leads there, and overlays are in \(path: location.text) itself",
                    hint: "move what the link leads to there")
            default: throw ImageError(.system(errno: error.rawValue), path: path.text, "look for it: \(error)")
            }
        }
    }

    /// Throws `system` where this process may make no files in it.
    func checkWritable() throws(ImageError) {
        // Safe: the string ends in NUL.
        guard unsafe location.withPlatformString({ unsafe faccessat(AT_FDCWD, $0, W_OK | X_OK, AT_EACCESS) }) != 0
        else { return }
        let error = Errno(rawValue: errno)
        throw ImageError(
            .system(errno: error.rawValue), path: location.text,
            "user \(geteuid()), as whom the server runs, cannot make overlays there: \(error)",
            hint: "name another folder, or give that user this one")
    }
}
