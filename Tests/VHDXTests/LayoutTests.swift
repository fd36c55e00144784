import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import VHDX

struct `The layout of a VHDX image` {
    private let builder: VHDXBuilder = {
        var builder = VHDXBuilder(virtualSize: 6 << 20)
        builder.parent = [
            ("parent_linkage", "{20000000-0000-4000-8000-000000000002}"), ("relative_path", ".\\base.vhdx"),
        ]
        builder.blocks = [
            0: .present(salt: 1), 2: .state(2), 3: .state(2),
            4: .partial(salt: 1, sectors: Array(repeating: true, count: 9)),
        ]
        return builder
    }()

    @Test func `has every structure, and fields that follow each other`() throws {
        let list = Listing()
        try VHDXLayout(PagedFile(builder.build())).list(to: list, LayoutOptions(showsEntries: true))
        #expect(
            list.structures.map(\.name) == [
                "file type identifier", "header 1", "header 2", "region table 1", "region table 2", "log",
                "metadata table",
                "file parameters", "virtual disk size", "virtual disk ID", "logical sector size",
                "physical sector size",
                "parent locator", "BAT",
            ])
        #expect(list.faults.isEmpty, "\(list.faults)")
        for (field, next) in zip(list.fields, list.fields.dropFirst()) where field.structure == next.structure {
            #expect(field.field.offset.rawValue + field.field.size == next.field.offset.rawValue, "\(field)")
        }
        #expect(list.notes.contains { $0.contains("relative_path is \".\\base.vhdx\"") }, "\(list.notes)")
        // The two blocks of zeros are one line, and so is all that comes behind the last block up to the sector bitmap's.
        #expect(list.entries.map(\.count) == [1, 1, 2, 1, 4091, 1])
        let kinds = list.entries.map { entry in
            entry.facts.compactMap { if case .text(let text) = $0.value { text } else { nil } }
        }
        #expect(
            kinds.map(\.first) == [
                "fully present", "not present", "zero", "partially present", "not present", "sector bitmap",
            ])
    }

    @Test func `says what is wrong where it is`() throws {
        var pages = builder.build()
        pages.write([1], at: 1 << 16 + 100)
        pages.write([4], at: builder.entryOffset(1))
        pages.write([3], at: builder.metadataOffset + 65536)
        let list = Listing()
        try VHDXLayout(PagedFile(pages)).list(to: list, LayoutOptions())
        #expect(list.faults.contains { $0.contains("checksum") }, "\(list.faults)")
        #expect(list.structures.map(\.name).contains("BAT"))
        pages.write([0, 0, 16], at: builder.metadataOffset + 65536)
        let sound = Listing()
        try VHDXLayout(PagedFile(pages)).list(to: sound, LayoutOptions())
        #expect(sound.entries.contains { $0.fault?.contains("state 4") == true })
    }

    @Test func `tells what each MiB is used for`() throws {
        let uses = Uses()
        try VHDXLayout(PagedFile(builder.build())).recordUse(in: uses)
        #expect(
            uses.uses.map(\.use) == [.header, .bookkeeping, .blockTable, .descriptor, .data, .data, .bitmaps])
        #expect(uses.uses.map(\.count) == Array(repeating: 1 << 20, count: 7))
        #expect(uses.ranges.map(\.start) == [0, 4 << 20])
        #expect(uses.notes.isEmpty)
    }
}

/// What was listed.
private final class Listing: LayoutConsumer {
    var structures: [LayoutStructure] = []
    var fields: [(structure: Int, field: LayoutField)] = []
    var entries: [LayoutEntry] = []
    var faults: [String] = []
    var notes: [String] = []

    func begin(_ structure: LayoutStructure) { structures.append(structure) }
    func add(_ field: LayoutField) {
        fields.append((structures.count, field))
        if let fault = field.fault { faults.append("\(field.name): \(fault)") }
    }
    func add(_ entry: LayoutEntry) {
        entries.append(entry)
        if let fault = entry.fault { faults.append(fault) }
    }
    func fault(_ message: ErrorText) { faults.append(message.description) }
    func note(_ message: ErrorText) { notes.append(message.description) }
    func omit(_ count: UInt64, _ what: String) { notes.append("\(count) \(what)") }
    func end() {}
}

/// What was recorded.
private final class Uses: HostUseRecorder {
    var uses: [(use: HostUse, offset: HostOffset, count: UInt64)] = []
    var ranges: [StoredRange] = []
    var notes: [String] = []

    func record(
        _ use: HostUse, at offset: HostOffset, count: UInt64, mayShare: (HostOffset, HostUse) -> Bool
    ) -> HostUse? {
        uses.append((use, offset, count))
        return nil
    }
    func record(_ range: StoredRange) { ranges.append(range) }
    func note(_ message: ErrorText) { notes.append(message.description) }
}
