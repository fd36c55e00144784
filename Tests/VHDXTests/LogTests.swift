import BlockImage
import ByteFormat
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import VHDX

struct `The log of a VHDX image` {
    /// A disk of four blocks with an empty table, and what the log must write to it.
    private let builder: VHDXBuilder = {
        var builder = VHDXBuilder(virtualSize: 4 << 20)
        builder.blocks = [0: .present(salt: 1), 1: .present(salt: 1), 3: .present(salt: 1)]
        builder.logID = UUID(uuidString: "40000000-0000-4000-8000-000000000004")
        return builder
    }()

    /// The image without what its table says, and the page of the table.
    private func withoutTable() -> (pages: Pages, table: [UInt8]) {
        var pages = builder.build()
        let table = pages.bytes(4096, at: builder.tableOffset)
        pages.write(Array(repeating: 0, count: 4096), at: builder.tableOffset)
        return (pages, table)
    }

    private func entry(_ page: [UInt8], _ number: UInt64, tail: UInt64 = 0, flushed: UInt64? = nil) -> [UInt8] {
        builder.logEntry(
            [.data(page, at: builder.tableOffset)], sequenceNumber: number, tail: tail, flushed: flushed,
            last: builder.dataOffset + 3 << 20)
    }

    @Test func `is replayed, and the image is as it was`() throws {
        var (pages, table) = withoutTable()
        #expect(try openVHDX(pages).wholeDisk().allSatisfy { $0 == 0 })
        builder.put(entry(table, 7), at: 0, of: &pages)
        let description = try VHDXDescription(of: PagedFile(pages))
        #expect(description.log?.entryCount == 1 && description.log?.lastSequenceNumber == 7)
        #expect(description.notes.contains { $0.description.contains("1 entry of its log is replayed in memory") })
        let image = try openVHDX(pages)
        #expect(try areSame(image.wholeDisk(), builder.disk()))
        // What the log does not touch comes from the file itself.
        let run = try image.resolve(at: GuestOffset(0), limit: .max)
        guard case .data(let file, _) = run.extent.storage else { throw ToolFailure(description: "\(run)") }
        #expect(file is PagedFile)
        #expect(try check(pages).corruptions == 0)
    }

    @Test func `counts for nothing without its identifier`() throws {
        var (pages, table) = withoutTable()
        builder.put(entry(table, 7), at: 0, of: &pages)
        var clean = builder
        clean.logID = nil
        for number in 1...2 as ClosedRange<UInt64> {
            pages.write(clean.header(sequenceNumber: number), at: number << 16)
        }
        #expect(try openVHDX(pages).wholeDisk().allSatisfy { $0 == 0 })
        #expect(try VHDXDescription(of: PagedFile(pages)).notes.isEmpty)
    }

    @Test(arguments: [0, 40 << 12, (1 << 20) - (3 << 12), (1 << 20) - (1 << 12)] as [UInt64])
    func `is a ring: entries may begin anywhere, and go on at its start`(start: UInt64) throws {
        var (pages, table) = withoutTable()
        var position = start
        for number in 1...5 as ClosedRange<UInt64> {
            var page = table
            // Only the last one is right.
            if number < 5 { page[0] ^= UInt8(number) }
            builder.put(entry(page, number, tail: start), at: position, of: &pages)
            position = (position + 8192) % builder.logLength
        }
        #expect(try VHDXDescription(of: PagedFile(pages)).log?.entryCount == 5)
        #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()))
    }

    @Test func `ends before an entry that was not written to its end`() throws {
        let (start, table) = withoutTable()
        let old = entry(table, 1)
        let torn = entry(Array(repeating: 0, count: 4096), 2)
        for position in [4, 20, 64, 70, 4096, 4100, 8190] {
            var pages = start
            builder.put(old, at: 0, of: &pages)
            var bytes = torn
            bytes[position] ^= 0x40
            builder.put(bytes, at: 8192, of: &pages)
            #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()), "byte \(position)")
        }
        var pages = start
        builder.put(old, at: 0, of: &pages)
        builder.put(torn, at: 8192, of: &pages)
        #expect(try openVHDX(pages).wholeDisk().allSatisfy { $0 == 0 })
    }

    @Test func `begins where its last entry says, and that must be there`() throws {
        let (start, table) = withoutTable()
        let other = [UInt8](repeating: 0, count: 4096)
        // Without the first entry, of which the second says that it is needed, the second is not valid.
        var pages = start
        builder.put(entry(table, 2, tail: 0), at: 8192, of: &pages)
        let description = try VHDXDescription(of: PagedFile(pages))
        #expect(description.log == nil)
        #expect(description.notes.contains { $0.description.contains("no valid entry") })
        // Older ones, which the last says are not needed any more, are not replayed.
        pages = start
        builder.put(entry(table, 1), at: 0, of: &pages)
        builder.put(
            builder.logEntry([.zeros(4096, at: 9 << 20)], sequenceNumber: 2, tail: 8192, last: 10 << 20), at: 8192,
            of: &pages)
        #expect(try openVHDX(pages).wholeDisk().allSatisfy { $0 == 0 })
        // Of two sequences, the one with the higher numbers is active.
        pages = start
        builder.put(entry(table, 30, tail: 64 << 12), at: 64 << 12, of: &pages)
        builder.put(entry(other, 9), at: 0, of: &pages)
        #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()))
    }

    @Test func `has zeros, and pages before and behind them`() throws {
        let table = builder.build().bytes(4096, at: builder.tableOffset)
        var pages = builder.build()
        let wrong = [UInt8](repeating: 0x44, count: 4096)
        let writes: [VHDXBuilder.LogWrite] = [
            .data(wrong, at: builder.tableOffset), .zeros(3 << 12, at: builder.tableOffset - 4096),
            .data(table, at: builder.tableOffset), .data(wrong, at: builder.tableOffset + 4096),
            .zeros(8192, at: builder.tableOffset + 4096),
        ]
        builder.put(builder.logEntry(writes, sequenceNumber: 1, tail: 0, last: 8 << 20), at: 0, of: &pages)
        let description = try VHDXDescription(of: PagedFile(pages))
        #expect(description.log?.pages.map(\.offset) == [builder.tableOffset])
        #expect(description.log?.zeros == [builder.tableOffset - 4096..<builder.tableOffset + 12288])
        #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()))
    }

    @Test(arguments: UInt64(1)...20)
    func `leaves of many writes what the last ones wrote`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let places = 0..<40 as Range<UInt64>
        var model = [Int](repeating: -1, count: 40)
        var writes: [LogWrite] = []
        for number in 0..<Int.random(in: 1...60, using: &random) {
            let place = UInt64.random(in: places, using: &random)
            var start: [UInt8] = Array("desc".utf8) + [1, 2, 3, 4] + [1, 2, 3, 4, 5, 6, 7, 8]
            if Bool.random(using: &random) {
                model[Int(place)] = number
            } else {
                let count = UInt64.random(in: 0...min(12, 40 - place), using: &random)
                start = Array("zero".utf8) + [0, 0, 0, 0] + (count << 12).littleEndianBytes
                for other in place..<place + count { model[Int(other)] = -2 }
            }
            var reader = ByteReader(start + (place << 12).littleEndianBytes + (1 as UInt64).littleEndianBytes)
            let descriptor = try LogDescriptor(parsing: &reader, sequenceNumber: 1)
            writes.append(LogWrite(descriptor: descriptor, sector: UInt32(number)))
        }
        let (pages, zeros) = ReplayedLog.lastWrites(of: writes)
        for place in places {
            let page = pages.first { $0.offset == place << 12 }
            #expect(page.map { Int($0.sector) } ?? -1 == max(model[Int(place)], -1), "seed \(seed), page \(place)")
            let isZero = zeros.contains { $0.contains(place << 12) }
            if model[Int(place)] == -2 { #expect(isZero, "seed \(seed), page \(place)") }
            if model[Int(place)] == -1 { #expect(!isZero, "seed \(seed), page \(place)") }
        }
    }

    @Test func `makes the file as long as its last entry says`() throws {
        var pages = builder.build()
        pages.write(
            (builder.dataOffset + 3 << 20 | 6).littleEndianBytes, at: builder.entryOffset(2))
        let table = pages.bytes(4096, at: builder.tableOffset)
        let entry = builder.logEntry(
            [.data(table, at: builder.tableOffset)], sequenceNumber: 1, tail: 0, last: builder.dataOffset + 4 << 20)
        builder.put(entry, at: 0, of: &pages)
        #expect(try areSame(openVHDX(pages).wholeDisk(), builder.disk()))
        // A file that was cut since cannot be replayed.
        pages.size = builder.dataOffset - 1
        let error = try #require(failure(of: pages))
        #expect(error.code == .truncated && error.message.contains("last entry"), "\(error)")
    }

    @Test func `may change what is not the table`() throws {
        var pages = builder.build()
        let page = [UInt8](repeating: 0x77, count: 4096)
        let entry = builder.logEntry(
            [.data(page, at: builder.dataOffset + 8192)], sequenceNumber: 1, tail: 0, last: builder.dataOffset)
        builder.put(entry, at: 0, of: &pages)
        var disk = builder.disk()
        disk.replaceSubrange(8192..<12288, with: page)
        #expect(try areSame(openVHDX(pages).wholeDisk(), disk))
        #expect(try openVHDX(pages).bytes(10, at: 8190) == Array(disk[8190..<8200]))
    }

    @Test func `is not searched without end where its entries overlap`() throws {
        var (pages, _) = withoutTable()
        // Each sector says that an entry as long as the log begins there.
        for sector in 0..<256 as Range<UInt64> {
            var header = entry([UInt8](repeating: 0, count: 4096), 5).prefix(64)
            header.replaceSubrange(8..<12, with: UInt32(1 << 20).littleEndianBytes)
            builder.put(Array(header), at: sector << 12, of: &pages)
        }
        let error = try #require(failure(of: pages))
        #expect(error.code == .corrupt && error.message.contains("overlap"), "\(error)")
    }
}
