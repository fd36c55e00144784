import BlockImage
import ImageFormats
import QCOW2
import TestImages
import Testing

struct `Dirty bitmaps` {
    /// An image of `diskSize` bytes with bitmaps of one bit per 512 bytes, all of whose table entries say that every bit
    /// is set.
    private func image(diskSize: UInt64, bitmaps: Int) -> MemoryFile {
        var builder = QCOW2Builder(size: diskSize)
        builder.autoclearFeatures = 1
        let bits = diskSize / 512
        let entries = Int((bits + 65536 * 8 - 1) / (65536 * 8))
        let table = UInt64(builder.build().bytes.count)
        let directory = table + UInt64((entries * 8 + 65535) & ~65535)
        var entry = Record().with(table, UInt32(entries), UInt32(0), UInt8(1), UInt8(9), UInt16(1), UInt32(0))
        entry = entry.with("b").padded
        let count = UInt32(bitmaps)
        builder.extensions = [
            (0x2385_2875, Record().with(count, UInt32(0), UInt64(entry.bytes.count * bitmaps), directory).bytes)
        ]
        var bytes = builder.build().bytes
        for _ in 0..<entries { bytes += [0, 0, 0, 0, 0, 0, 0, 1] }
        bytes += [UInt8](repeating: 0, count: Int(directory) - bytes.count)
        for _ in 0..<bitmaps { bytes += entry.bytes }
        return MemoryFile(bytes)
    }

    private func open(_ file: MemoryFile) -> OpenedImage {
        let resources = LayerResources()
        return ImageOpener(policy: NothingNamed(), resources: resources)
            .open(file, as: .qcow2, counters: resources.counters)
    }

    @Test func `tell how many bytes are dirty`() throws {
        let bitmaps = open(image(diskSize: 1 << 26, bitmaps: 2)).bitmaps
        #expect(try bitmaps.map { try $0.dirtyBytes.get() } == [1 << 26, 1 << 26])
    }

    @Test func `of more bits than anybody counts tell so`() throws {
        // 2^17 bits each: 2,048 of them have as many as are looked at.
        let bitmaps = open(image(diskSize: 1 << 26, bitmaps: 2049)).bitmaps
        #expect(try bitmaps[2047].dirtyBytes.get() == 1 << 26)
        guard case .failure(let error) = bitmaps[2048].dirtyBytes else {
            Issue.record("the last was counted, too")
            return
        }
        #expect(error.code == .unsupported)
        #expect(error.message.contains("131072 bits"))
    }
}
