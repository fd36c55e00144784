import BlockImage
import HostTools
import TestImages
import Testing

/// `é` in one piece and in two, which Swift's strings call equal.
let composed = "caf\u{e9}"
let decomposed = "cafe\u{301}"

struct `A name` {
    @Test func `that is written with other bytes is another one, though it looks the same`() {
        #expect(composed == decomposed)
        #expect(ExactName(composed) != ExactName(decomposed) && ExactName(composed) == ExactName("caf\u{e9}"))
        #expect(Set([ExactName(composed), ExactName(decomposed)]).count == 2)
        #expect(ExactName(decomposed) < ExactName(composed) && ExactName("a") < ExactName("b"))
        #expect(areEquivalent(composed.utf8, decomposed.utf8))
        #expect(!areEquivalent(composed.utf8, composed.utf8) && !areEquivalent("a".utf8, "b".utf8))
        #expect(!areEquivalent([0xff], [0xfe]))
        #expect(spelled(composed.utf8) == "caf\\u{e9}" && spelled(decomposed.utf8) == "cafe\\u{301}")
    }

    @Test func `is what is called exactly so, or the only one that looks the same`() {
        func match(_ name: String, _ names: String...) -> NameMatch {
            NameMatch(Array(name.utf8), among: names.map { Array($0.utf8) })
        }
        #expect(match(composed, decomposed, composed) == .exact(1))
        #expect(match(composed, "cafe", decomposed) == .equivalent(1))
        #expect(match(composed, "cafe") == .none)
        // Two accents that are written in another order.
        #expect(match("q\u{307}\u{323}", "q\u{323}\u{307}") == .equivalent(0))
        #expect(match("\u{212b}", "\u{c5}", "A\u{30a}") == .ambiguous([0, 1]))
        #expect(throws: ImageError.self) {
            try NameMatch.find(
                Array("\u{212b}".utf8), among: [Array("\u{c5}".utf8), Array("A\u{30a}".utf8)], kind: "snapshot",
                of: .file("x")
            )
        }
    }

    @Test(
        arguments: [
            [], Array("plain".utf8), Array(decomposed.utf8), [0x6e, 0xfc, 0x2e, 0x72], [0xff, 0xfe], [0xe2, 0x82],
            // A surrogate, what is too long for its number, and what is beyond Unicode.
            [0xed, 0xa0, 0x80, 0x61], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80],
            // The characters that stand for bytes, as a name has them itself.
            Array("a\u{10fffc}b\u{10ff80}".utf8), Array("\u{10ff7f}\u{10fffe}🙂".utf8) + [0x80],
        ] as [[UInt8]])
    func `has one text, which stands for its bytes`(bytes: [UInt8]) {
        #expect(nameText(bytes).nameBytes == bytes)
        #expect(
            nameText(bytes).hasRawBytes
                == (String(validating: bytes, as: UTF8.self).map {
                    $0.contains("\u{10fffc}") || $0.contains("\u{10fffe}")
                } ?? true))
        #expect(String(validating: Array(nameText(bytes).withoutRawBytes.utf8), as: UTF8.self) != nil)
    }

    @Test func `of any bytes has one text`() {
        var random = SeededRandom(seed: 3)
        let common: [UInt8] = [0xf4, 0x8f, 0xbe, 0xbf, 0x80, 0xff, 0x61, 0xc3, 0xa9]
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in
                Bool.random(using: &random)
                    ? UInt8.random(in: 1...255, using: &random) : common.randomElement(using: &random) ?? 0
            }
            #expect(nameText(bytes).nameBytes == bytes, "\(bytes)")
        }
        #expect(printable([0x6e, 0xfc, 0x5c]) == "n\\xfc\\\\")
        #expect(nameText([0x6e, 0xfc]).withoutRawBytes == "n\u{fffd}")
    }
}

struct `A name in a QCOW2 header` {
    @Test(
        arguments: [
            ("base.qcow2", ["base.qcow2"]), ("./base.qcow2", ["./base.qcow2"]), ("", [""]), ("..", [".."]),
            ("/old/vm/base.qcow2", ["/old/vm/base.qcow2", "../vm/base.qcow2", "base.qcow2"]),
            ("/base.qcow2", ["/base.qcow2", "base.qcow2"]),
            ("file:/old/vm/base.qcow2", ["file:/old/vm/base.qcow2", "../vm/base.qcow2", "base.qcow2"]),
            ("sub/base.qcow2", ["sub/base.qcow2", "../sub/base.qcow2", "base.qcow2"]),
            ("../vm/base.qcow2", ["../vm/base.qcow2", "base.qcow2"]),
            ("/old/a:b.qcow2", ["/old/a:b.qcow2", "../old/a:b.qcow2", "./a:b.qcow2"]),
            ("/dev/vg/base", ["/dev/vg/base"]), ("/old/", ["/old/"]), ("nbd://host/base", ["nbd://host/base"]),
            ("json:{\"driver\":\"/x\"}", ["json:{\"driver\":\"/x\"}"]), ("C:/x/base.qcow2", ["C:/x/base.qcow2"]),
        ] as [(String, [String])])
    func `is looked for as it is, and by its last components`(name: String, expected: [String]) {
        let candidates = SoughtName(inHeader: Array(name.utf8)).candidates
        #expect(candidates.map { String(decoding: $0.name, as: UTF8.self) } == expected)
        #expect(candidates[0].reading == nil && candidates.dropFirst().allSatisfy { $0.reading != nil })
    }
}
