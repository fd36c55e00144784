import BlockImage
import Fuse

/// A file of the mount that somebody has open.
enum OpenFile: Sendable {
    /// `disk.raw` and what else can be read like a disk.
    case disk(OpenDisk)
    /// `stats.json`: its text as it was when it was opened, so that one reader sees one document.
    case stats([UInt8])
    /// `map.json` of the disk as it was when it was opened; counts as a reader of it.
    case map(ImageNode, MapText)
    /// A directory.
    case directory(DirectoryListing)
}

/// The open files, by the handles that the kernel knows them by.
final class OpenFiles: Sendable {
    private struct State {
        var files: [FileHandle: OpenFile] = [:]
        var last: UInt64 = 0
    }

    private let state = Guarded(State())

    /// Keeps `file` and answers its handle.
    func add(_ file: OpenFile) -> FileHandle {
        state.withLock { state in
            state.last += 1
            let handle = FileHandle(rawValue: state.last)
            state.files[handle] = file
            return handle
        }
    }

    /// How many files are open.
    var count: Int { state.withLock { $0.files.count } }

    /// The file that `handle` was given out for.
    subscript(handle: FileHandle) -> OpenFile? {
        state.withLock { $0.files[handle] }
    }

    /// Forgets the file and answers it.
    func remove(_ handle: FileHandle) -> OpenFile? {
        state.withLock { $0.files.removeValue(forKey: handle) }
    }
}
