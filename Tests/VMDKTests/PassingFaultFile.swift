import BlockImage
import Synchronization
import TestImages

/// A file in memory of which some bytes cannot be read until the fault passes.
final class PassingFaultFile: HostFile {
    private struct Fault: Sendable {
        var errno: CInt
        var ranges: [Range<Int>]
    }

    private let content: MemoryFile
    private let fault: Guarded<Fault?>
    private let failures = Atomic<Int>(0)

    /// A file of `bytes`; every read that touches one of `ranges` fails with `errno`. `isDevice`: whether
    /// it has the identity of a device.
    init(_ bytes: [UInt8], errno: CInt, _ ranges: [Range<Int>], isDevice: Bool = false) {
        identity = isDevice ? FileIdentity(device: 1, inode: 0) : nil
        content = MemoryFile(bytes)
        fault = Guarded(Fault(errno: errno, ranges: ranges))
    }

    /// From now on every byte can be read.
    func pass() { fault.withLock { $0 = nil } }

    var id: HostFileID { content.id }
    var path: String { content.path }
    var size: UInt64 { content.size }
    var allocatedSize: UInt64 { content.allocatedSize }
    let identity: FileIdentity?
    var modified: FileTime { content.modified }
    var isCurrent: Bool { true }
    var descriptor: CInt? { nil }
    /// How often it was read.
    var readCount: Int { content.reads.load(ordering: .relaxed) }
    /// How often a read of it failed.
    var failureCount: Int { failures.load(ordering: .relaxed) }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let place = Int(offset.rawValue)..<Int(offset.rawValue) + count
        if let fault = fault.withLock({ $0 }), fault.ranges.contains(where: { $0.overlaps(place) }) {
            failures.add(1, ordering: .relaxed)
            throw ImageError(.system(errno: fault.errno), path: path, offset: offset, "read: error \(fault.errno)")
        }
        try content.read(count, at: offset, into: &output)
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
