import Catalog
import Fuse
import Synchronization

/// An open file or directory of the mount. Every method may be called from any thread.
protocol OpenFile: Sendable {
    /// Bounds the threads that read it; by default nil, as it waits for no file of the host. It is held while it is read
    /// or listed, but not while it is closed.
    var gate: RequestGate? { get }

    /// Answers `count` bytes from `offset` on, fewer only at the end.
    func read(_ count: Int, at offset: UInt64, in mount: ImageFileSystem, reply: consuming DataReply)

    /// Answers where the next data or hole is; by default it is not known.
    func seek(from offset: UInt64, to target: SeekTarget, in mount: ImageFileSystem, reply: consuming SeekReply)

    /// Writes `bytes` at `offset`, which the kernel has of changed pages if `isPage` says so; by default it cannot be written to.
    func write(
        _ bytes: RawSpan, at offset: UInt64, isPage: Bool, in mount: ImageFileSystem, reply: consuming WriteReply)

    /// Has the `count` bytes at `offset` read as zeros; by default it cannot be written to.
    func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, in mount: ImageFileSystem, reply: consuming DoneReply)

    /// Has what was written to the file, by whom it may be, be on stable storage; by default the same as `flush`.
    func synchronize(in mount: ImageFileSystem, reply: consuming DoneReply)

    /// Has what was written through it be on stable storage; by default nothing was.
    func flush(in mount: ImageFileSystem, reply: consuming DoneReply)

    /// The last descriptor is gone; by default does nothing.
    func close(in mount: ImageFileSystem)
}

extension OpenFile {
    var gate: RequestGate? { nil }

    func seek(from offset: UInt64, to target: SeekTarget, in mount: ImageFileSystem, reply: consuming SeekReply) {
        reply.failure(.invalidArgument)
    }

    func write(
        _ bytes: RawSpan, at offset: UInt64, isPage: Bool, in mount: ImageFileSystem, reply: consuming WriteReply
    ) {
        reply.failure(.badHandle)
    }

    func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, in mount: ImageFileSystem, reply: consuming DoneReply
    ) { reply.failure(.badHandle) }

    func synchronize(in mount: ImageFileSystem, reply: consuming DoneReply) { flush(in: mount, reply: reply) }

    func flush(in mount: ImageFileSystem, reply: consuming DoneReply) { reply.done() }

    func close(in mount: ImageFileSystem) {}
}

/// The open files, by the handles that the kernel knows them by. Every method may be called from any thread.
///
/// A handle is the address of what is open: a read finds it without a lock that all reads would share.
final class OpenFiles: Sendable {
    private final class Box: Sendable {
        let file: any OpenFile

        init(_ file: any OpenFile) {
            self.file = file
        }
    }

    private let number = Atomic(0)

    /// How many files are open.
    var count: Int { number.load(ordering: .relaxed) }

    /// Keeps `file` and answers its handle.
    func add(_ file: any OpenFile) -> FileHandle {
        number.add(1, ordering: .relaxed)
        // Safe: the reference is kept until `remove`.
        let address = unsafe Unmanaged.passRetained(Box(file)).toOpaque()
        return FileHandle(rawValue: UInt64(UInt(bitPattern: address)))
    }

    /// The file that `handle`, which `add` gave out and `remove` has not seen, is for.
    subscript(handle: FileHandle) -> (any OpenFile)? {
        unsafe Self.box(handle)?.takeUnretainedValue().file
    }

    /// Forgets the file and answers it.
    func remove(_ handle: FileHandle) -> (any OpenFile)? {
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
