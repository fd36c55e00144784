import BlockImage
import TestImages
import Testing

@testable import QCOW2

struct `The snapshot table` {
    private func image(_ table: [UInt8], count: UInt32) -> BuiltQCOW2 {
        var image = QCOW2Builder(size: 1 << 20).build()
        let offset = UInt64(image.bytes.count)
        image.bytes += table
        image.poke(count, at: 60)
        image.poke(offset, at: 64)
        return image
    }

    private func entry(extra: [UInt8], id: String, name: String, state: UInt32 = 5) -> Record {
        Record().with(UInt64(0x70000), UInt32(3), UInt16(id.utf8.count), UInt16(name.utf8.count))
            .with(UInt32(1_700_000_000), UInt32(999), UInt64(1_234_567_890_123), state, UInt32(extra.count))
    }

    @Test func `lists snapshots with all, some and none of the extra data`() throws {
        let full = Record().with(UInt64(1) << 33, UInt64(4096), UInt64(77), UInt64(0xdead))
        let old = full.bytes.prefix(16)
        let none = Record().with(UInt64(1) << 33, UInt64(4096), UInt64.max)
        var table = Record()
        for (extra, id) in [(full.bytes, "1"), (Array(old), "22"), ([], "333"), (none.bytes, "4444")] {
            let fixed = entry(extra: extra, id: id, name: "näme")
            table.bytes += Record(bytes: fixed.bytes + extra).with(id).with("näme").padded.bytes
        }
        let found = try QCOW2Description(MemoryFile(image(table.bytes, count: 4).bytes)).snapshots
        #expect(found.map(\.id) == ["1", "22", "333", "4444"])
        #expect(found.map(\.name) == Array(repeating: "näme", count: 4))
        #expect(found.map(\.vmStateSize) == [1 << 33, 1 << 33, 5, 1 << 33])
        #expect(found.map(\.diskSize) == [4096, 4096, nil, 4096])
        #expect(found.map(\.instructionCount) == [77, nil, nil, nil])
        #expect(found.allSatisfy { $0.l1TableOffset == 0x70000 && $0.l1Size == 3 && $0.dateNanoseconds == 999 })
    }

    @Test func `with more extra data than is allowed, or cut, is noted, and the disk is read`() throws {
        var fixed = entry(extra: [], id: "1", name: "x").bytes
        fixed.replaceSubrange(36..<40, with: [0, 0, 4, 1])
        let big = image(fixed + Array(repeating: 0, count: 4096), count: 1)
        let message = "snapshot table: entry 0: has 1025 bytes of extra data, but at most 1024 are allowed"
        #expect(try faults(of: big)?.message == message)
        let cut = image(entry(extra: [], id: "1", name: "x").bytes, count: 1)
        #expect(try faults(of: cut)?.code == .truncated)
        // The entries before it are there.
        let whole = Record(bytes: entry(extra: [], id: "1", name: "x").bytes).with("1").with("x").padded.bytes
        let second = image(whole + fixed, count: 2)
        #expect(try faults(of: second)?.offset != nil)
        #expect(try QCOW2Description(MemoryFile(second.bytes)).snapshots.map(\.id) == ["1"])
    }

    /// What the description says of the snapshot table, where the disk is read all the same, and a check tells of it.
    private func faults(of image: BuiltQCOW2) throws -> ImageError? {
        #expect(failure(of: image.bytes) == nil)
        let file = MemoryFile(image.bytes)
        let description = try QCOW2Description(file)
        #expect(description.notes.count == 1)
        #expect(try description.check(file).findings.contains { $0.kind == .snapshot && $0.severity == .corruption })
        return description.snapshotFault
    }

    @Test func `that would be larger than 64 MiB is not read to its end`() throws {
        // 1024 bytes of extra data and the longest names: some 500 entries are 64 MiB.
        let name = String(repeating: "n", count: 65535)
        let fixed = entry(extra: Array(repeating: 0, count: 1024), id: name, name: name).bytes
        let one = Record(bytes: fixed + Array(repeating: 7, count: 1024)).with(name).with(name).padded.bytes
        var table: [UInt8] = []
        for _ in 0..<520 { table += one }
        let error = try QCOW2Description(MemoryFile(image(table, count: 520).bytes)).snapshotFault
        #expect(error?.code == .corrupt)
        #expect(error?.message.hasSuffix("the table is larger than 67108864 bytes") == true)
    }
}

struct `The bitmap directory` {
    private func image(_ directory: [UInt8], count: UInt32, size: UInt64? = nil, isValid: Bool = true) -> BuiltQCOW2 {
        var builder = QCOW2Builder(size: 1 << 20)
        builder.autoclearFeatures = isValid ? 1 : 0
        let offset = UInt64(builder.build().bytes.count)
        builder.extensions = [
            (0x2385_2875, Record().with(count, UInt32(0), size ?? UInt64(directory.count), offset).bytes)
        ]
        var image = builder.build()
        image.bytes += directory
        return image
    }

    private func entry(_ name: String, flags: UInt32, granularityBits: UInt8) -> [UInt8] {
        Record().with(UInt64(0x90000), UInt32(1), flags, UInt8(1), granularityBits, UInt16(name.utf8.count), UInt32(3))
            .with("xyz").with(name).padded.bytes
    }

    @Test func `lists bitmaps with their flags and granularity`() throws {
        let directory = entry("first", flags: 2, granularityBits: 16) + entry("", flags: 3, granularityBits: 9)
        let found = try QCOW2Description(MemoryFile(image(directory, count: 2).bytes)).bitmaps
        #expect(found.map(\.name) == ["first", ""])
        #expect(found.map(\.granularityBits) == [16, 9])
        #expect(found.map(\.flags) == [.auto, [.inUse, .auto]])
    }

    @Test func `is not looked at where the autoclear bit does not vouch for it`() throws {
        let built = image([1, 2, 3], count: 9, isValid: false)
        #expect(try QCOW2Description(MemoryFile(built.bytes)).bitmaps == [])
    }

    /// What the description says of the directory, where the disk is read all the same, and a check tells of it.
    private func fault(of image: BuiltQCOW2) throws -> ImageError? {
        #expect(failure(of: image.bytes) == nil)
        let file = MemoryFile(image.bytes)
        let description = try QCOW2Description(file)
        #expect(description.notes.count == 1 && description.bitmaps == [])
        #expect(try description.check(file).findings.contains { $0.kind == .bitmap && $0.severity == .corruption })
        return description.bitmapFault
    }

    @Test func `with a count, a size or a granularity that cannot be is noted, and the disk is read`() throws {
        let one = entry("a", flags: 0, granularityBits: 16)
        #expect(try fault(of: image(one, count: 2))?.code == .corrupt)
        for count in [UInt32(0), 65536, .max] {
            let message = "bitmap directory: has \(count) entries, but must have 1 to 65535"
            #expect(try fault(of: image(one, count: count))?.message == message)
        }
        #expect(try fault(of: image(one, count: 1, size: .max))?.code == .corrupt)
        #expect(try fault(of: image(one, count: 1, size: 64 << 20))?.code == .corrupt)
        #expect(try fault(of: image(one, count: 1, size: 1 << 20))?.code == .truncated)
        for bits in [UInt8(0), 8, 32, 255] {
            let bad = image(entry("a", flags: 0, granularityBits: bits), count: 1)
            let message = "bitmap directory: entry 0: granularity_bits is \(bits), but must be 9 to 31"
            #expect(try fault(of: bad)?.message == message)
        }
    }
}
