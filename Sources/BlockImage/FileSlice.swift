/// A part of a file as a file of its own: its first byte is at offset 0. Immutable; every method may be called from any
/// thread.
///
/// It has neither a descriptor, which would reach what lies around the part, nor an identity of its own.
public final class FileSlice: HostFile {
    /// Not that of the file around it, so that caches keep both apart.
    public let id = HostFileID()
    /// The path it was opened by, for messages and for resolving names beside it: the name that it was given.
    public let path: String
    /// Its size in bytes when it was opened.
    public let size: UInt64
    /// Nil, because a file's identity is that of the whole.
    public var identity: FileIdentity? { nil }
    /// Which files of the host its bytes lie in: the file around it.
    public var identities: Set<FileIdentity> { file.identities }
    /// When its content last changed, as of opening: when the file around it changed.
    public var modified: FileTime { file.modified }
    /// Whether its path still leads to this very file, unchanged since it was opened: whether the file around it is
    /// unchanged.
    public var isCurrent: Bool { file.isCurrent }
    /// Whether the file that was opened has not been written to since, whatever its path leads to by now.
    public var isUnchanged: Bool { file.isUnchanged }
    /// Whether its file system dates it by the clock whenever it is asked, as qemu-storage-daemon's exports over FUSE
    /// do.
    public var isDatedByClock: Bool { file.isDatedByClock }
    /// How another program has locked it, by QEMU's convention: how the file around it is locked.
    public var imageLock: ImageLock? { file.imageLock }
    /// Locks the whole file.
    public func lockAgainstWriters() throws(ImageError) { try file.lockAgainstWriters() }
    /// Nil: no descriptor has its first byte at offset 0.
    public var descriptor: CInt? { nil }
    /// Whether the host can be asked for bytes without waiting for a disk, as `ReadScope.withoutBlocking` does, and can
    /// be asked about the file at once.
    public var isPrompt: Bool { file.isPrompt }

    /// The file that it is a part of.
    public let file: any HostFile
    /// Where in that file it begins.
    public let offset: HostOffset

    /// The most runs of holes and data that `allocatedSize` looks at; what follows them counts as data.
    static let runLimit = 256

    /// The `size` bytes of `file` from `offset` on, which messages call `path`.
    ///
    /// Throws `truncated` when the file ends first.
    public init(of file: any HostFile, offset: HostOffset, size: UInt64, path: String) throws(ImageError) {
        guard offset.rawValue <= file.size, size <= file.size - offset.rawValue else {
            throw ImageError(
                .truncated, path: path,
                "takes \(size) bytes from \(offset) of \(path: file.path), which ends at \(HostOffset(file.size))")
        }
        self.file = file
        self.offset = offset
        self.size = size
        self.path = path
    }

    /// The bytes it takes on the host's file system now: less than `size` where it has holes. Where the file around it
    /// has holes, they are looked for here, as far as `runLimit` goes.
    public var allocatedSize: UInt64 {
        guard file.allocatedSize < file.size else { return size }
        var sum: UInt64 = 0
        var position: UInt64 = 0
        var steps = 0
        while position < size, steps < Self.runLimit {
            let run = run(at: HostOffset(position), limit: size - position)
            guard run.count > 0 else { break }
            if !run.isHole { sum += run.count }
            position += run.count
            steps += 1
        }
        return sum + (size - position)
    }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        // Nothing can be read anywhere, as in any file.
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(clamping: count) <= size - offset.rawValue else {
            throw ImageError(
                .truncated, path: path, offset: offset,
                "\(count) bytes are wanted here, but the file ends at \(HostOffset(size))")
        }
        // The sum fits, because the whole slice lies in the file.
        try file.read(count, at: self.offset.advanced(by: offset.rawValue), into: &output)
    }

    /// Tells the host that the `count` bytes at `offset` will be read soon, and does not wait for them.
    public func willNeed(_ count: UInt64, at offset: HostOffset) {
        guard offset.rawValue < size else { return }
        file.willNeed(min(count, size - offset.rawValue), at: self.offset.advanced(by: offset.rawValue))
    }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so. A run ends where the slice does; past its end there is nothing but a hole.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        guard offset.rawValue < size else { return (true, limit) }
        let rest = min(limit, size - offset.rawValue)
        return file.run(at: self.offset.advanced(by: offset.rawValue), limit: rest)
    }
}
