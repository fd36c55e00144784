/// Several files, one after the other, as one. Immutable; every method may be called from any thread.
///
/// It has neither a descriptor nor an identity, even when it has one part only.
public final class JoinedFile: HostFile {
    /// Not that of any part, so that caches keep them apart.
    public let id = HostFileID()
    /// The path it was opened by, for messages and for resolving names beside it: the name that it was given.
    public let path: String
    /// Its size in bytes when it was opened: the sum of the parts.
    public let size: UInt64
    /// Which file it is: nil, because it is no file of the host.
    public var identity: FileIdentity? { nil }
    /// Which files of the host its bytes lie in: those of its parts.
    public var identities: Set<FileIdentity> { parts.reduce(into: []) { $0.formUnion($1.file.identities) } }
    /// When its content last changed, as of opening: when the part that changed last did so.
    public let modified: FileTime
    /// Whether its path still leads to this very file, unchanged since it was opened: whether every part is unchanged.
    public var isCurrent: Bool { parts.allSatisfy { $0.file.isCurrent } }
    /// Whether the file that was opened has not been written to since, whatever its path leads to by now.
    public var isUnchanged: Bool { parts.allSatisfy { $0.file.isUnchanged } }
    /// Whether its file system dates it by the clock whenever it is asked, as qemu-storage-daemon's exports over FUSE
    /// do.
    public var isDatedByClock: Bool { parts.contains { $0.file.isDatedByClock } }
    /// How another program has locked it, by QEMU's convention: how a part is locked, for writing if any is.
    public var imageLock: ImageLock? {
        let locks = parts.compactMap { $0.file.imageLock }
        return locks.contains(.writing) ? .writing : locks.first
    }
    /// Locks the files of all parts.
    public func lockAgainstWriters() throws(ImageError) { for part in parts { try part.file.lockAgainstWriters() } }
    /// Nil: no descriptor has its first byte at offset 0.
    public var descriptor: CInt? { nil }
    /// Whether the host can be asked for bytes without waiting for a disk, as `ReadScope.withoutBlocking` does, and can
    /// be asked about the file at once: whether every part is.
    public var isPrompt: Bool { parts.allSatisfy { $0.file.isPrompt } }

    private struct Part {
        var file: any HostFile
        /// Where it begins and ends in the whole; it has at least one byte.
        var start: UInt64
        var end: UInt64
    }

    private let parts: [Part]

    /// The bytes of `files` in their order, as a file that messages call `path`.
    ///
    /// Throws `corrupt` when they have more bytes together than any file can have.
    public init(_ files: [any HostFile], path: String) throws(ImageError) {
        var parts: [Part] = []
        var end: UInt64 = 0
        var modified: FileTime?
        for file in files {
            let (sum, overflow) = end.addingReportingOverflow(file.size)
            guard !overflow, sum <= UInt64(Int64.max) else {
                throw ImageError(.corrupt, path: path, "its \(files.count) parts: have 2^63 bytes or more together")
            }
            if file.size > 0 { parts.append(Part(file: file, start: end, end: sum)) }
            end = sum
            modified = max(modified ?? file.modified, file.modified)
        }
        self.parts = parts
        self.modified = modified ?? FileTime(seconds: 0, nanoseconds: 0)
        self.path = path
        size = end
    }

    /// The bytes it takes on the host's file system now: the sum of the parts.
    public var allocatedSize: UInt64 {
        parts.reduce(0) { saturatingSum($0, $1.file.allocatedSize) }
    }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them. Errors of a part are
    /// about that part.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        // Nothing can be read anywhere, as in any file.
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(clamping: count) <= size - offset.rawValue else {
            throw ImageError(
                .truncated, path: path, offset: offset,
                "\(count) bytes are wanted here, but the file ends at \(HostOffset(size))")
        }
        var position = offset.rawValue
        var rest = UInt64(count)
        var index = partIndex(at: position)
        while rest > 0, index < parts.count {
            let part = parts[index]
            let step = min(rest, part.end - position)
            // No more than `count`, which is an Int.
            try part.file.read(Int(step), at: HostOffset(position - part.start), into: &output)
            position += step
            rest -= step
            index += 1
        }
    }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so. A run ends where its part does; past the last there is nothing but a hole.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        guard offset.rawValue < size else { return (true, limit) }
        let part = parts[partIndex(at: offset.rawValue)]
        let rest = min(limit, part.end - offset.rawValue)
        return part.file.run(at: HostOffset(offset.rawValue - part.start), limit: rest)
    }

    /// Which part has the byte at `position`, which lies in the file: the first that ends behind it.
    private func partIndex(at position: UInt64) -> Int {
        var low = 0
        var high = parts.count
        while low < high {
            let middle = (low + high) / 2
            if parts[middle].end > position { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
