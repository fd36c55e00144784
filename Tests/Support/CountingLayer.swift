import BlockImage
import Synchronization

/// A disk of runs of several kinds that counts the bytes it was asked about: each look-up counts the bytes of its answer.
package final class CountingLayer: ImageLayer {
    /// The size of the disk in bytes.
    package let virtualSize: UInt64
    /// What the disk reads as.
    package let content: [UInt8]
    /// The bytes of all answers together.
    package var asked: Int { count.load(ordering: .relaxed) }

    private let file: MemoryFile
    private let runSize: Int
    private let count = Atomic<Int>(0)

    /// A disk of `size` bytes, in runs of `runSize` bytes that are data, zeros, compressed and not allocated by turns.
    package init(size: Int, runSize: Int) {
        virtualSize = UInt64(size)
        self.runSize = runSize
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 / 997) | 1 }
        content = bytes.indices.map { $0 / runSize % 4 == 0 || $0 / runSize % 4 == 2 ? bytes[$0] : 0 }
        file = MemoryFile(bytes)
    }

    /// One run, or what of it is wanted.
    package func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let run = Int(start.rawValue) / runSize
        let rest = min(UInt64((run + 1) * runSize), virtualSize) - start.rawValue
        let storage: Extent.Storage =
            switch run % 4 {
            case 0: .data(file: file, offset: HostOffset(start.rawValue))
            case 1: .zero(explicit: true)
            case 2: .encoded(.compressed, file: file, offset: HostOffset(UInt64(run)), count: 1)
            default: .unallocated
            }
        let extent = Extent(start: start, count: min(limit, rest), storage: storage)
        count.add(Int(extent.count), ordering: .relaxed)
        return extent
    }

    /// The bytes as they are.
    package func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        try file.read(Int(extent.count), at: HostOffset(extent.start.rawValue), into: &output)
    }
}
