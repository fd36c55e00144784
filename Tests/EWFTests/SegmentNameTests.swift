import Testing

@testable import EWF

struct `Names of segments` {
    private func name(_ number: Int, beside first: String) -> String? {
        SegmentNames.name(number, beside: Array(first.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func `go from 01 over 99, AA and ZZ to the next letter, in the case of the first`() {
        #expect(name(2, beside: "disk.E01") == "disk.E02" && name(99, beside: "disk.E01") == "disk.E99")
        #expect(name(100, beside: "disk.E01") == "disk.EAA" && name(776, beside: "disk.e01") == "disk.faa")
        #expect(name(SegmentNames.limit, beside: "disk.E01") == "disk.ZZZ")
        #expect(name(SegmentNames.limit + 1, beside: "disk.E01") == nil)
    }

    @Test func `are none where the first begins with no letter, whatever byte that is`() {
        for byte in UInt8.min ... .max where !(0x41...0x5a).contains(byte & 0xdf) {
            for number in [2, 100, 5000] {
                let name = Array("disk.".utf8) + [byte] + Array("01".utf8)
                #expect(SegmentNames.name(number, beside: name) == nil, "\(byte) \(number)")
            }
        }
    }
}
