import BlockImage
import Synchronization

/// A file that lives in memory, for tests that need no host.
public final class MemoryFile: HostFile {
    /// See `HostFile`.
    public let id = HostFileID()
    /// See `HostFile`; a name for messages.
    public let path: String
    /// See `HostFile`: nil unless a test gives it one.
    public let identity: FileIdentity?
    /// See `HostFile`: whatever a test says.
    public let modified = FileTime(seconds: 0, nanoseconds: 0)
    /// The content.
    public let bytes: [UInt8]
    /// How often it was read.
    public let reads = Atomic<Int>(0)
    private let holes: [Range<UInt64>]

    /// A file of `bytes`, which says of `holes` that the host keeps nothing there; they must be in order.
    public init(
        _ bytes: [UInt8], path: String = "memory.img", identity: FileIdentity? = nil, holes: [Range<UInt64>] = []
    ) {
        self.bytes = bytes
        self.path = path
        self.identity = identity
        self.holes = holes
    }

    /// See `HostFile`.
    public var size: UInt64 { UInt64(bytes.count) }
    /// See `HostFile`.
    public var allocatedSize: UInt64 { size - holes.reduce(0) { $0 + UInt64($1.count) } }
    /// See `HostFile`.
    public var isCurrent: Bool { true }
    /// See `HostFile`.
    public var descriptor: CInt? { nil }

    /// See `HostFile`.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
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

    /// See `HostFile`.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        let position = offset.rawValue
        guard let next = holes.first(where: { $0.upperBound > position }) else { return (false, limit) }
        if next.contains(position) { return (true, min(limit, next.upperBound - position)) }
        return (false, min(limit, next.lowerBound - position))
    }
}
