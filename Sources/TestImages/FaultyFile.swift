import BlockImage
import Glibc
import Synchronization

/// A file in memory of which some bytes cannot be read, as on a disk with bad sectors, for ever or until the fault passes.
public final class FaultyFile: HostFile {
    private struct Fault: Sendable {
        var errno: CInt
        var ranges: [Range<Int>]
    }

    private let content: MemoryFile
    private let fault: Guarded<Fault?>
    private let failures = Atomic<Int>(0)

    /// A file of `bytes`; every read that touches one of `bad` fails with `errno`. `isDevice`: whether it has the identity
    /// of a device.
    public init(_ bytes: [UInt8], errno: CInt = 5, bad: [Range<Int>], isDevice: Bool = false) {
        identity = isDevice ? FileIdentity(device: 1, inode: 0) : nil
        content = MemoryFile(bytes)
        fault = Guarded(Fault(errno: errno, ranges: bad))
    }

    /// From now on every byte can be read.
    public func pass() { fault.withLock { $0 = nil } }

    /// How often it was read.
    public var readCount: Int { content.reads.load(ordering: .relaxed) }
    /// How often a read of it failed.
    public var failureCount: Int { failures.load(ordering: .relaxed) }

    /// See `HostFile`.
    public var id: HostFileID { content.id }
    /// See `HostFile`.
    public var path: String { content.path }
    /// See `HostFile`.
    public var size: UInt64 { content.size }
    /// See `HostFile`.
    public var allocatedSize: UInt64 { content.allocatedSize }
    /// See `HostFile`.
    public let identity: FileIdentity?
    /// See `HostFile`.
    public var modified: FileTime { content.modified }
    /// See `HostFile`.
    public var isCurrent: Bool { true }
    /// See `HostFile`.
    public var descriptor: CInt? { nil }

    /// See `HostFile`.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let place = Int(offset.rawValue)..<Int(offset.rawValue) + count
        if let fault = fault.withLock({ $0 }), fault.ranges.contains(where: { $0.overlaps(place) }) {
            failures.add(1, ordering: .relaxed)
            throw ImageError(
                .system(errno: fault.errno), path: path, offset: offset,
                "read: \(String(cString: strerror(fault.errno)))")
        }
        try content.read(count, at: offset, into: &output)
    }

    /// See `HostFile`.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
