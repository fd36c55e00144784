import Reports
import Testing

struct `Lines that are too long` {
    @Test func `break at blanks, and a word that is too long stays whole`() {
        let wrap = LineWrap(columns: 40)
        let word = String(repeating: "w", count: 60)
        #expect(
            wrap.wrapped("  a line of forty columns, no more, is one")
                == "  a line of forty columns, no more, is\n      one")
        #expect(wrap.wrapped("name: \(word) end") == "name:\n\(word)\n    end")
        // Colours take no space, and wide characters that of two.
        let red = "\u{1b}[1;31m" + String(repeating: "r", count: 40) + "\u{1b}[0m"
        #expect(wrap.wrapped(red) == red)
        #expect(wrap.wrapped("\(String(repeating: "磁", count: 20)) a") == "\(String(repeating: "磁", count: 20))\n    a")
        #expect(LineWrap().wrapped(String(repeating: "word ", count: 100)).count == 500)
    }
}
