import Synchronization

/// Which file this is, whatever its name: two names of one file have the same identity.
public struct FileIdentity: Hashable, Sendable {
    /// The number of the device that holds the file (st_dev).
    public var device: UInt64
    /// The file's number on that device (st_ino).
    public var inode: UInt64

    /// The file numbered `inode` on the device numbered `device`.
    public init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}

/// A moment, as file systems keep it.
public struct FileTime: Hashable, Comparable, Sendable {
    /// Seconds since 1970-01-01 00:00 UTC.
    public var seconds: Int64
    /// Nanoseconds after that, 0 to 999,999,999.
    public var nanoseconds: Int

    /// The moment `seconds` and `nanoseconds` after 1970 began.
    public init(seconds: Int64, nanoseconds: Int) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    /// Order in time.
    public static func < (left: Self, right: Self) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}

/// The number of one opening of one file, never used twice in a process: the key under which caches keep its parts.
public struct HostFileID: Hashable, Sendable {
    private static let last = Atomic<UInt64>(0)
    private let number: UInt64

    /// A number not given out before.
    public init() {
        number = Self.last.add(1, ordering: .relaxed).newValue
    }
}

/// What a lock on an image file says of the programs that use it.
public enum ImageLock: Hashable, Sendable {
    /// A program reads it.
    case reading
    /// A program may write to it.
    case writing
}

/// A file on the host that holds image bytes, open for reading. Every method may be called from any thread.
public protocol HostFile: AnyObject, Sendable {
    /// The number of this opening.
    var id: HostFileID { get }
    /// The path it was opened by, for messages and for resolving names beside it; of a part of a file, the path of the
    /// whole and the part's name.
    var path: String { get }
    /// Its size in bytes when it was opened.
    var size: UInt64 { get }
    /// The bytes it takes on the host's file system now: less than `size` where it has holes.
    var allocatedSize: UInt64 { get }
    /// Which file it is; nil when it lives in memory, or is made of parts of files (`FileSlice`, `JoinedFile`).
    var identity: FileIdentity? { get }
    /// Which files of the host its bytes lie in: itself, or those that it is made of parts of.
    var identities: Set<FileIdentity> { get }
    /// When its content last changed, as of opening.
    var modified: FileTime { get }
    /// Whether it was opened by a link that is in another folder than the file itself.
    var isLinked: Bool { get }
    /// Whether its path still leads to this very file, unchanged since it was opened.
    var isCurrent: Bool { get }
    /// Whether the file that was opened has not been written to since, whatever its path leads to by now.
    var isUnchanged: Bool { get }
    /// Whether its file system dates it by the clock whenever it is asked, as qemu-storage-daemon's exports over FUSE do:
    /// then its times do not tell whether it was written to, and `isUnchanged` goes by its size and its locks.
    var isDatedByClock: Bool { get }
    /// How another program has locked it, by QEMU's convention; nil where none has.
    var imageLock: ImageLock? { get }
    /// Keeps other programs from writing to it, by QEMU's locks, for as long as it is open; by default does nothing: for files that
    /// are none of the host, or are opened for a moment only. Throws `system` with EBUSY where one writes to it.
    func lockAgainstWriters() throws(ImageError)

    /// The open descriptor, for what only the kernel can do with it: offset 0 of both is the same byte. Nil when it
    /// lives in memory, or is made of parts of files.
    var descriptor: CInt? { get }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    ///
    /// Throws `truncated` when the file ends first and `system` when the host cannot read it; what was read before
    /// that stays in `output`.
    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError)

    /// Tells the host that the `count` bytes at `offset` will be read soon, and does not wait for them.
    func willNeed(_ count: UInt64, at offset: HostOffset)

    /// Whether the host has all of the `count` bytes at `offset` in its memory: then nothing waits for a disk. False also
    /// where it does not tell.
    func isCached(_ count: UInt64, at offset: HostOffset) -> Bool

    /// Whether the host can be asked for bytes without waiting for a disk, as `ReadScope.withoutBlocking` does, and can be
    /// asked about the file at once: so with disks of this host, and not with what comes over a network or from another
    /// program, which may never answer.
    var isPrompt: Bool { get }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so. A file system that cannot tell answers that all is data.
    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64)
}

extension HostFile {
    /// Does nothing: for files that need not be fetched, or are read seldom.
    public func willNeed(_ count: UInt64, at offset: HostOffset) {}

    /// For files whose bytes only `read` gets.
    public func isCached(_ count: UInt64, at offset: HostOffset) -> Bool { false }

    /// For files that are made of no others.
    public var identities: Set<FileIdentity> { Set([identity].compactMap { $0 }) }

    /// For files that were not opened by a name of their own.
    public var isLinked: Bool { false }

    /// For files of which that is not known.
    public var isPrompt: Bool { false }

    /// For files that no other process can write to.
    public var isUnchanged: Bool { true }

    /// For files with times of their own.
    public var isDatedByClock: Bool { false }

    /// Does nothing.
    public func lockAgainstWriters() throws(ImageError) {}

    /// For files that no other process can lock.
    public var imageLock: ImageLock? { nil }

    /// The `count` bytes at `offset`, for metadata: nothing is allocated before the file is known to hold them.
    ///
    /// `what` names the structure in the error.
    public func bytes(_ count: Int, at offset: HostOffset, of what: String) throws(ImageError) -> [UInt8] {
        guard offset.rawValue <= size, UInt64(clamping: count) <= size - offset.rawValue else {
            throw ImageError(
                .truncated, path: path, offset: offset,
                "\(what): takes \(count) bytes, but the file ends at \(HostOffset(size))")
        }
        // Not a page's alignment: between many small arrays that are kept, that would leave most of a page unused each time.
        let buffer = AlignedBuffer(capacity: count, alignment: 16)
        try buffer.fill(count) { output throws(ImageError) in try read(count, at: offset, into: &output) }
        return buffer.array
    }
}
