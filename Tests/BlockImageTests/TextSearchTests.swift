import BlockImage
import Testing

struct `Search in texts` {
    @Test func `finds the first place, by bytes`() {
        #expect(Array("aab".utf8).place(of: Array("ab".utf8)) == 1..<3)
        #expect(Array("aa".utf8).place(of: Array("aab".utf8)) == nil)
        #expect([UInt8]().place(of: [1]) == nil)
        #expect("scheme://host".contains(text: "://") && !"scheme:/".contains(text: "://"))
        // A letter with an accent of its own is another character, and has the same byte.
        #expect("vmdk\u{301}".contains(text: "vmdk") && !"VMDK".contains(text: "vmdk"))
    }

    @Test func `replaces every place`() {
        #expect("a_b__c".replacing(text: "_", with: "--") == "a--b----c")
        #expect("aaa".replacing(text: "aa", with: "b") == "ba")
        #expect("\u{e9}\\x".dropFirst().replacing(text: "\\", with: "/") == "/x")
        #expect("".replacing(text: "a", with: "b") == "")
    }
}
