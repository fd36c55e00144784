import BlockImage
import Foundation
import Synchronization

/// A file in memory of which some bytes cannot be read, as on a disk with bad sectors, for ever or until the fault passes.
package final class FaultyFile: HostFile {
    private struct Fault: Sendable {
        var errno: CInt
        var ranges: [Range<Int>]
    }

    private let content: MemoryFile
    private let fault: Guarded<Fault?>
    private let failures = Atomic<Int>(0)

    /// A file of `bytes`; every read that touches one of `bad` fails with `errno`. `isDevice`: whether it has the identity
    /// of a device.
    package init(_ bytes: [UInt8], errno: CInt = 5, bad: [Range<Int>], isDevice: Bool = false) {
        identity = isDevice ? FileIdentity(device: 1, inode: 0) : nil
        content = MemoryFile(bytes)
        fault = Guarded(Fault(errno: errno, ranges: bad))
    }

    /// From now on every byte can be read.
    package func pass() { fault.withLock { $0 = nil } }

    /// How often it was read.
    package var readCount: Int { content.reads.load(ordering: .relaxed) }
    /// How often a read of it failed.
    package var failureCount: Int { failures.load(ordering: .relaxed) }

    /// The number of this opening.
    package var id: HostFileID { content.id }
    /// The path it was opened by, for messages and for resolving names beside it; of a part of a file, the path of the
    /// whole and the part's name.
    package var path: String { content.path }
    /// Its size in bytes when it was opened.
    package var size: UInt64 { content.size }
    /// The bytes it takes on the host's file system now: less than `size` where it has holes.
    package var allocatedSize: UInt64 { content.allocatedSize }
    /// Which file it is; nil when it lives in memory, or is made of parts of files (`FileSlice`, `JoinedFile`).
    package let identity: FileIdentity?
    /// When its content last changed, as of opening.
    package var modified: FileTime { content.modified }
    /// Whether its path still leads to this very file, unchanged since it was opened.
    package var isCurrent: Bool { true }
    /// The open descriptor, for what only the kernel can do with it: offset 0 of both is the same byte.
    package var descriptor: CInt? { nil }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    package func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let place = Int(offset.rawValue)..<Int(offset.rawValue) + count
        if let fault = fault.withLock({ $0 }), fault.ranges.contains(where: { $0.overlaps(place) }) {
            failures.add(1, ordering: .relaxed)
            throw ImageError(
                .system(errno: fault.errno), path: path, offset: offset,
                "read: \(String(cString: strerror(fault.errno)))")
        }
        try content.read(count, at: offset, into: &output)
    }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so.
    package func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
