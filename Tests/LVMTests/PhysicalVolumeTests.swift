import BlockImage
import HostTools
import TestImages
import Testing

@testable import LVM

struct `A physical volume` {
    static let id = String(repeating: "a", count: 32)
    static let groupID = String(repeating: "g", count: 32)

    private func read(_ disk: BuiltLVM) throws(ImageError) -> PhysicalVolume? {
        var budget = PhysicalVolume.Budget()
        return try PhysicalVolume(on: Image(layer: RawLayer(file: MemoryFile(disk.bytes))), within: &budget)
    }

    private func text(sequence: Int = 1) -> String {
        var group = BuiltGroup("vg", Self.groupID, members: [Self.id])
        group.sequence = sequence
        group.add("lv", BuiltGroup.segment(0, 3, [("pv0", 5)]))
        return group.text
    }

    @Test(arguments: 0..<4) func `has its label in one of four sectors`(sector: Int) throws {
        var disk = BuiltLVM(Self.id, sector: sector)
        disk.setText(text())
        let volume = try #require(try read(disk))
        #expect(
            volume.id.description == BuiltLVM.hyphenated(Self.id) && volume.notes.isEmpty && volume.copies.count == 1)
        #expect(volume.copies[0].name == "vg" && volume.copies[0].volumes[0].size == 3 * 4096)
        #expect(volume.copies[0].has(volume.id))
    }

    @Test func `may have no metadata area, an empty one, one that is not used, or two`() throws {
        let none = try #require(try read(BuiltLVM(Self.id, areas: [])))
        #expect(!none.hasMetadataAreas && none.copies.isEmpty)
        let empty = try #require(try read(BuiltLVM(Self.id)))
        #expect(empty.hasMetadataAreas && empty.copies.isEmpty && empty.notes.isEmpty)
        var disk = BuiltLVM(Self.id, areas: [4096..<65536, 0xf_0000..<0x10_0000])
        disk.setText(text(sequence: 4), area: 0)
        disk.setText(text(sequence: 5), area: 1)
        #expect(try read(disk)?.copies.map(\.sequence) == [5, 4])
        #expect(try read(disk)?.newestCopies.count == 1)
        disk.setText(text(sequence: 5), area: 0)
        #expect(try read(disk)?.copies.count == 1)
        disk.setText(text(sequence: 9), area: 0, flags: 1)
        #expect(try read(disk)?.copies.map(\.sequence) == [5])
    }

    @Test func `has a text that may go round the end of its area`() throws {
        let text = text()
        for offset in [65536 - 4096 - 512, 65536 - 4096 - text.utf8.count, 65536 - 4096 - 1] {
            var disk = BuiltLVM(Self.id)
            disk.setText(text, at: offset)
            let volume = try #require(try read(disk))
            #expect(volume.copies.count == 1 && volume.notes.isEmpty, "\(offset): \(volume.notes)")
        }
    }

    @Test func `that is damaged says where`() throws {
        var disk = BuiltLVM(Self.id, areas: [4096..<65536, 0xf_0000..<0x10_0000])
        disk.setText(text(), area: 0)
        disk.setText(text(), area: 1)
        func notes(_ change: (inout BuiltLVM) -> Void) throws -> [String]? {
            var changed = disk
            change(&changed)
            let volume = try read(changed)
            #expect(volume?.copies.count == 1)
            return volume?.notes.map(\.description)
        }
        let sum = BuiltLVM.checksum(Array(text().utf8) + [0])
        #expect(
            try notes { $0.bytes[4096 + 512 + 9] ^= 1 }?.first?.hasPrefix(
                "the metadata area at 0x1000: the check sum of the text is 0x") == true)
        #expect(
            try notes { $0.bytes[4096 + 512 + 9] ^= 1 }?.first?.hasSuffix("but must be 0x" + String(sum, radix: 16))
                == true)
        #expect(try notes { $0.bytes[4096 + 30] ^= 1 }?.first?.contains("the check sum of the header is") == true)
        #expect(
            try notes { $0.bytes[4096 + 4] = 0 } == [
                "the metadata area at 0x1000: there is no header of a metadata area"
            ])
        #expect(
            try notes {
                $0.poke(UInt64(1 << 40), at: 0x200 + 104)
                $0.sealLabel()
            }?.first?.contains("but it has 1048576") == true)

        var label = disk
        label.bytes[0x200 + 40] = UInt8(ascii: "z")
        #expect(throws: ImageError.self) { try read(label) }
        label.bytes[0x200] = 0
        #expect(try read(label) == nil)
        label = disk
        label.bytes[0x200 + 33] = UInt8(ascii: "/")
        label.sealLabel()
        let error = #expect(throws: ImageError.self) { try read(label) }
        #expect(error?.message.contains("other characters than LVM uses") == true)
        #expect(try read(BuiltLVM(Self.id, size: 0x400, areas: [])) != nil)
    }

    @Test func `never ends the program, whatever its bytes are`() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        var disk = BuiltLVM(Self.id)
        disk.setText(text())
        for _ in 0..<3000 {
            var changed = disk
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let place = [0x200..<0x2a0, 0x1000..<0x1060, 0x1200..<0x1700].randomElement(using: &random)!
                changed.bytes[Int.random(in: place, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            // With the right sums, so that what is behind them is read.
            changed.sealLabel()
            if Bool.random(using: &random) {
                let end = changed.bytes[0x1200...].firstIndex(of: 0) ?? 0x1200
                changed.poke(UInt64(end + 1 - 0x1200), at: 0x1000 + 48)
                changed.poke(BuiltLVM.checksum(changed.bytes[0x1200...end]), at: 0x1000 + 56)
            }
            changed.poke(BuiltLVM.checksum(changed.bytes[0x1004..<0x1200]), at: 0x1000)
            guard let volume = try? read(changed), let group = volume.copies.first else { continue }
            let image = Image(layer: RawLayer(file: MemoryFile(changed.bytes)))
            for logical in group.volumes {
                let disk = try? group.disk(of: logical, on: [volume.id: .success(image)], path: "seed \(seed)")
                #expect(disk.map { $0.virtualSize == logical.size && $0.virtualSize < 1 << 40 } ?? true, "seed \(seed)")
            }
        }
    }
}
