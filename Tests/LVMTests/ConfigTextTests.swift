import ByteFormat
import Testing

@testable import LVM

struct `The text of LVM's metadata` {
    private func parse(_ text: String) throws(ParseFault) -> ConfigSection {
        try ConfigSection(parsing: Array(text.utf8))
    }

    @Test func `has numbers, texts, lists and sections, and comments between them`() throws {
        let root = try parse(
            """
            # first
            a=1 b = "x \\"y\\" \\\\ #" # not in the text
            c = [ "p", 2, [] ]
            d { e = -3 f { g = "" } }
            "h i" { }
            """)
        #expect(try root.number("a") == 1 && root.text("b") == "x \"y\" \\ #" && root.texts("c") == ["p"])
        #expect(root.section("d")?.section("f")?.text("g") == "" && root.section("h i") != nil)
        #expect(throws: ParseFault.self) { try root.section("d")?.number("e") }
        #expect(throws: ParseFault.self) { try root.sectors("nothing") }
        // What comes behind a NUL is none of it.
        #expect(try parse("a = 1\0}").number("a") == 1)
    }

    @Test(arguments: [
        ("a", 1, "\"a\": is followed by neither = nor {"), ("a =", 3, "the text ends where a value must be"),
        ("a = b", 4, "a number of at most 64 bits, a text or a list must be here"),
        ("a = \"b", 4, "a quotation mark has no other one"),
        ("a = [1", 6, "a list must go on with a comma here, or end"), ("a = [1,", 7, "the text ends inside a list"),
        ("a = [1 2]", 7, "a list must go on with a comma here, or end"),
        ("a {", 3, "the text ends inside a section"), ("}", 0, "a section ends here that did not begin"),
        ("a = 1 a = 2", 6, "\"a\": is given a value twice in its section"),
        ("a {} a {}", 5, "\"a\": stands for two sections of one section"), ("= 1", 0, "a name must begin here"),
        ("a = 99999999999999999999", 4, "a number of at most 64 bits, a text or a list must be here"),
    ])
    func `says where it is broken`(text: String, position: Int, message: String) {
        #expect(throws: ParseFault(at: position, message)) { try parse(text) }
    }

    @Test func `is read within limits, whatever it is`() throws {
        for text in [
            String(repeating: "a{", count: 1_000_000), "a = " + String(repeating: "[", count: 1_000_000),
            "a = [" + String(repeating: "1,", count: 2_000_000), String(repeating: "\"", count: 1_000_001),
        ] {
            #expect(throws: ParseFault.self) { try parse(text) }
        }
    }
}
