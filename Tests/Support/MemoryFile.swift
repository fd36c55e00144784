import BlockImage
import Synchronization

/// A file that lives in memory, for tests that need no host.
package final class MemoryFile: HostFile {
    /// The number of this opening.
    package let id = HostFileID()
    /// A name for messages.
    package let path: String
    /// Which file it is: nil unless a test gives it one.
    package let identity: FileIdentity?
    /// When its content last changed, as of opening: whatever a test says.
    package let modified = FileTime(seconds: 0, nanoseconds: 0)
    /// The content.
    package let bytes: [UInt8]
    /// How often it was read.
    package let reads = Atomic<Int>(0)
    private let holes: [Range<UInt64>]

    /// A file of `bytes`, which says of `holes` that the host keeps nothing there; they must be in order.
    package init(
        _ bytes: [UInt8], path: String = "memory.img", identity: FileIdentity? = nil, holes: [Range<UInt64>] = []
    ) {
        self.bytes = bytes
        self.path = path
        self.identity = identity
        self.holes = holes
    }

    /// Its size in bytes when it was opened.
    package var size: UInt64 { UInt64(bytes.count) }
    /// The bytes it takes on the host's file system now: less than `size` where it has holes.
    package var allocatedSize: UInt64 { size - holes.reduce(0) { $0 + UInt64($1.count) } }
    /// Whether its path still leads to this very file, unchanged since it was opened.
    package var isCurrent: Bool { true }
    /// The open descriptor, for what only the kernel can do with it: offset 0 of both is the same byte.
    package var descriptor: CInt? { nil }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    package func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        reads.add(1, ordering: .relaxed)
        // Nothing can be read anywhere, as in any file.
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(count) <= size - offset.rawValue else {
            throw ImageError(.truncated, path: path, offset: offset, "the file ends \(size) bytes from its start")
        }
        let start = Int(offset.rawValue)
        bytes.withUnsafeBytes { content in
            output.append(copying: UnsafeRawBufferPointer(rebasing: content[start..<start + count]).bytes)
        }
    }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so.
    package func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        let position = offset.rawValue
        guard let next = holes.first(where: { $0.upperBound > position }) else { return (false, limit) }
        if next.contains(position) { return (true, min(limit, next.upperBound - position)) }
        return (false, min(limit, next.lowerBound - position))
    }
}
