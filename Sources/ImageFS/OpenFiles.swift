import BlockImage
import Fuse
import Synchronization

/// An open file of the mount.
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

/// The open files, by the handles that the kernel knows them by. Every method may be called from any thread.
///
/// A handle is the address of what is open: a read finds it without a lock that all reads would share.
final class OpenFiles: Sendable {
    private final class Box: Sendable {
        let file: OpenFile

        init(_ file: OpenFile) {
            self.file = file
        }
    }

    private let number = Atomic(0)

    /// How many files are open.
    var count: Int { number.load(ordering: .relaxed) }

    /// Keeps `file` and answers its handle.
    func add(_ file: OpenFile) -> FileHandle {
        number.add(1, ordering: .relaxed)
        // Safe: the reference is kept until `remove`.
        let address = unsafe Unmanaged.passRetained(Box(file)).toOpaque()
        return FileHandle(rawValue: UInt64(UInt(bitPattern: address)))
    }

    /// The file that `handle`, which `add` gave out and `remove` has not seen, is for.
    subscript(handle: FileHandle) -> OpenFile? {
        unsafe Self.box(handle)?.takeUnretainedValue().file
    }

    /// Forgets the file and answers it.
    func remove(_ handle: FileHandle) -> OpenFile? {
        guard let box = unsafe Self.box(handle) else { return nil }
        number.subtract(1, ordering: .relaxed)
        return unsafe box.takeRetainedValue().file
    }

    /// Safe: only the kernel speaks to a session. It sends back the handles that `add` gave out, and none after the
    /// `release` that ends in `remove` (Linux, fs/fuse/file.c: a request holds its file).
    private static func box(_ handle: FileHandle) -> Unmanaged<Box>? {
        guard let address = unsafe UnsafeRawPointer(bitPattern: UInt(handle.rawValue)) else { return nil }
        return unsafe Unmanaged.fromOpaque(address)
    }
}
