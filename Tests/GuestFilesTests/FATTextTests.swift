import BlockImage
import Testing

@testable import GuestFiles

struct `Names and times of FAT` {
    @Test func `are UTF-16 with surrogate pairs, and halves of them are left out`() {
        #expect(GuestName.utf8("aä日😀".utf16) == Array("aä日😀".utf8))
        #expect(GuestName.utf8([0x61, 0xd83d, 0x62]) == Array("ab".utf8))
        #expect(GuestName.utf8([0xde00, 0x61, 0xd83d]) == Array("a".utf8))
        #expect(GuestName.utf8([0xd83d, 0xd83d, 0xde00]) == Array("😀".utf8))
    }

    @Test func `are the same in small letters and capitals, letter for letter`() {
        func isSame(_ left: String, _ right: String) -> Bool {
            FATText.folded(Array(left.utf8)) == FATText.folded(Array(right.utf8))
        }
        #expect(isSame("ReadMe.TXT", "readme.txt") && isSame("größe", "GRÖßE") && isSame("ωя", "ΩЯ"))
        #expect(isSame("dots..", "dots") && !isSame("ß", "SS") && !isSame("ı", "I") && !isSame("a", "b"))
    }

    /// A record of the short name `name` with `flags`, and zeros.
    private func record(_ name: [UInt8], flags: UInt8 = 0, attributes: UInt8 = 0x20) -> FATRecord {
        let bytes = name + [attributes, flags] + [UInt8](repeating: 0, count: 19)
        return FATRecord(DirectoryRecords.Record(bytes: bytes[...], offset: 0))
    }

    @Test(arguments: [
        ("README  TXT", 0, "README.TXT"), ("README  TXT", 8, "readme.TXT"), ("README  TXT", 16, "README.txt"),
        ("README  TXT", 24, "readme.txt"), ("NOEXT      ", 24, "noext"), ("A B     C  ", 0, "A B.C"),
        ("        TXT", 0, ".TXT"),
    ])
    func `that are short have eight and three characters`(stored: String, flags: UInt8, shown: String) {
        #expect(record(Array(stored.utf8), flags: flags).shortName == Array(shown.utf8))
    }

    @Test func `that are short are in code page 437`() {
        let name: [UInt8] = [0x05, 0x8e, 0x99, 0x9a, 0x80, 0x20, 0x20, 0x20, 0xe4, 0xe8, 0x20]
        #expect(record(name).shortName == Array("σÄÖÜÇ.ΣΦ".utf8))
        #expect(record(name, flags: 24).shortName == Array("σäöüç.σφ".utf8))
    }

    @Test func `that are long belong to the short name that they have the sum of`() {
        let short = record(Array("LONGNA~1TXT".utf8))
        func part(_ order: UInt8, _ text: String, sum: UInt8) -> FATRecord {
            var units = Array(text.utf16) + (text.utf16.count < 13 ? [0] : [])
            units += [UInt16](repeating: 0xffff, count: 13 - units.count)
            let bytes = units.flatMap { [UInt8($0 & 0xff), UInt8($0 >> 8)] }
            let record = [order] + bytes[..<10] + [0x0f, 0, sum] + bytes[10..<22] + [0, 0] + bytes[22...]
            return FATRecord(DirectoryRecords.Record(bytes: record[...], offset: 0))
        }
        func name(_ parts: [(UInt8, String, UInt8)]) -> String? {
            var long = FATLongName()
            for (order, text, sum) in parts { long.add(part(order, text, sum: sum &+ short.checksum)) }
            return long.take(for: short).map { String(decoding: $0, as: UTF8.self) }
        }
        let whole: [(UInt8, String, UInt8)] = [(0x42, "ä😀.txt", 0), (1, "a long name, ", 0)]
        #expect(part(1, "x", sum: 0).kind == .longName && name(whole) == "a long name, ä😀.txt")
        #expect(name([(0x41, "0123456789abc", 0)]) == "0123456789abc")
        // A stale beginning before the true one does no harm; a part that is missing, wrong or of another name does.
        #expect(name([(0x43, "x", 0), (2, "y", 0)] + whole) == "a long name, ä😀.txt")
        #expect(name([whole[0]]) == nil && name([whole[1]]) == nil && name([(0x42, "x", 1), whole[1]]) == nil)
        #expect(name([(0x42, "x", 1), (1, "y", 1)]) == nil && name([(0x43, "x", 0), whole[1]]) == nil)
        #expect(name([(0x40, "x", 0)]) == nil && name([(0x55, "x", 0)]) == nil && name([(0x41, "", 0)]) == nil)
        #expect(name(whole + [(1, "y", 0)]) == nil && name([(0xc1, "x", 0)]) == nil)
    }

    @Test(arguments: [
        (0x0021, 0, 0, 315_532_800), (0x0000, 0, 0, 315_532_800), (0x285d, 0x64c6, 0, 951_827_892),
        (0x285d, 0x64c6, 199, 951_827_893), (0xf07c, 0, 0, 4_109_875_200), (0xff9f, 0xbf7d, 0, 4_354_819_198),
    ])
    func `count from 1980 in two seconds`(date: UInt16, time: UInt16, hundredths: UInt8, seconds: Int64) {
        let nanoseconds = hundredths == 199 ? 990_000_000 : 0
        #expect(
            FileTime(date: date, time: time, hundredths: hundredths)
                == FileTime(seconds: seconds, nanoseconds: nanoseconds))
    }

    @Test(arguments: [(0, 0), (0x80, 0), (0x84, -3600), (0xfc, 3600), (0xc0, 57600), (0xbf, -56700), (0x04, 0)])
    func `of exFAT may have a zone`(zone: UInt8, moved: Int64) {
        let time = FileTime(seconds: 1_000_000, nanoseconds: 7)
        #expect(time.inZone(zone) == FileTime(seconds: 1_000_000 + moved, nanoseconds: 7))
    }

    @Test func `of exFAT are the same by its table`() {
        // a to c with capitals, and 0x62 letters without before them.
        let table = ExFATUpcase([0xff, 0xff, 0x61, 0, 0x41, 0, 0x42, 0, 0x43, 0])
        #expect(table.folded("abcdA€".utf16) == Array("ABCdA€".utf16))
        #expect(ExFATUpcase([]).folded("ab".utf16) == Array("ab".utf16))
        #expect(ExFATUpcase([0xff, 0xff]).folded([0]) == [0xffff])
    }
}
