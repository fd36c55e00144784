import BlockImage
import TestImages
import Testing

struct `The budget of a walk` {
    /// Whether a walk may read `size` compressed bytes of a disk whose files have `hostSize`.
    private func reads(_ size: UInt64, ofFile hostSize: UInt64) -> Bool {
        let compressed = Extent.Storage.encoded(.compressed, file: MemoryFile([]), offset: HostOffset(0), count: 1)
        var budget = WalkBudget(hostSize: hostSize)
        return (0..<size >> 20).allSatisfy { index in
            budget.takeReading(Extent(start: GuestOffset(index << 20), count: 1 << 20, storage: compressed))
        }
    }

    @Test func `lets a small file of zstd have a large disk, and no file any`() {
        // qemu-img makes 900 KB of 1400 MiB of one letter.
        #expect(reads(1400 << 20, ofFile: 900_000))
        #expect(!reads(1 << 40, ofFile: 900_000))
    }
}
