import BlockImage
import Testing

@testable import GuestFiles

struct `Times and names of ISO 9660` {
    private static let times: [([UInt8], Int64)] = [
        ([0, 0, 0, 0, 0, 0, 0], 0), ([70, 1, 1, 0, 0, 1, 0], 1), ([100, 2, 29, 12, 0, 0, 0], 951_825_600),
        ([100, 3, 1, 0, 0, 0, 4], 951_865_200), ([100, 3, 1, 0, 0, 0, 0xfc], 951_872_400),
        ([100, 3, 1, 0, 0, 0, 0x80], 951_868_800), ([200, 3, 1, 0, 0, 0, 0], 4_107_542_400),
        ([69, 12, 31, 23, 59, 59, 0], -1),
    ]

    @Test(arguments: times)
    func `count from 1900`(bytes: [UInt8], seconds: Int64) {
        #expect(FileTime(record: bytes[...]) == FileTime(seconds: seconds, nanoseconds: 0))
        #expect(FileTime(record: [UInt8](repeating: 255, count: 7)[...]).seconds > 0)
    }

    @Test func `may be digits`() {
        func time(_ text: String, _ zone: UInt8) -> FileTime? { FileTime(digits: (Array(text.utf8) + [zone])[...]) }
        #expect(time("2000030100000050", 4) == FileTime(seconds: 951_865_200, nanoseconds: 500_000_000))
        #expect(time("0000000000000000", 0) == nil && time("2000 30100000050", 0) == nil && time("2000", 0) == nil)
    }

    @Test(arguments: [
        ("README.TXT;1", "readme.txt"), ("README.;1", "readme"), ("A.B;2", "a.b.2"), ("A/B", "a.b"), ("X\0Y", "x"),
        ("NOVERSION.", "noversion."), (";1", ""), (".;1", ""), ("A;1;1", "a.1"),
    ])
    func `are in small letters without their version`(stored: String, shown: String) {
        #expect(ISOName.translated(Array(stored.utf8)[...]) == Array(shown.utf8))
    }

    @Test(arguments: [("Ä😀.txt;1", "Ä😀.txt"), ("dots...", "dots"), ("...", "."), ("x;2", "x;2"), (";1", ";1")])
    func `of Joliet are UTF-16`(stored: String, shown: String) {
        let bytes = stored.utf16.flatMap { [UInt8($0 >> 8), UInt8($0 & 0xff)] }
        #expect(ISOName.joliet(bytes[...]) == Array(shown.utf8))
        #expect(ISOName.folded(Array("Ab..".utf8)) == Array("ab".utf8))
    }
}
