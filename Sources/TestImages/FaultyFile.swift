import BlockImage

/// A file in memory of which some bytes cannot be read, as on a disk with bad sectors.
public final class FaultyFile: HostFile {
    private let content: MemoryFile
    private let bad: [Range<Int>]

    /// A file of `bytes`; no read that touches one of `bad` succeeds.
    public init(_ bytes: [UInt8], bad: [Range<Int>]) {
        content = MemoryFile(bytes)
        self.bad = bad
    }

    /// See `HostFile`.
    public var id: HostFileID { content.id }
    /// See `HostFile`.
    public var path: String { content.path }
    /// See `HostFile`.
    public var size: UInt64 { content.size }
    /// See `HostFile`.
    public var allocatedSize: UInt64 { content.allocatedSize }
    /// See `HostFile`.
    public var identity: FileIdentity? { nil }
    /// See `HostFile`.
    public var modified: FileTime { content.modified }
    /// See `HostFile`.
    public var isCurrent: Bool { true }
    /// See `HostFile`.
    public var descriptor: CInt? { nil }

    /// See `HostFile`.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let start = Int(offset.rawValue)
        guard !bad.contains(where: { $0.overlaps(start..<start + count) }) else {
            throw ImageError(.system(errno: 5), path: path, offset: offset, "read: Input/output error")
        }
        try content.read(count, at: offset, into: &output)
    }

    /// See `HostFile`.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
