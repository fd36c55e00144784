import BlockImage
import Testing

struct `What people are shown` {
    @Test(arguments: [
        ("plain \\ text", "plain \\ text"), ("a\nb\\c", "a\\x0ab\\\\c"), ("\u{1b}[31m", "\\x1b[31m"),
        ("\u{7f}", "\\x7f"),
        ("\u{9b}", "\\x9b"), ("a\u{202e}b", "a\\u{202e}b"), ("\u{2028}\u{2067}", "\\u{2028}\\u{2067}"),
        ("\u{feff}", "\\u{feff}"), ("\u{fffe}\u{ffff}", "\\u{fffe}\\u{ffff}"), ("naïve 画像 🙂", "naïve 画像 🙂"),
    ])
    func `is one line that does nothing to a terminal`(text: String, shown: String) {
        #expect(printable(text) == shown)
        // What was made harmless once stays as it is.
        #expect(printable(shown) == shown)
        #expect(printable(Array(text.utf8)) == shown)
    }

    @Test func `has a mark where bytes are no text`() {
        #expect(printable([0x61, 0xff, 0x07]) == "a\\xff\\x07")
    }

    @Test func `has times with their zone`() {
        #expect(utcTime(0) == "1970-01-01 00:00:00 UTC" && utcTime(951_782_399) == "2000-02-28 23:59:59 UTC")
        #expect(
            utcTime(951_868_799) == "2000-02-29 23:59:59 UTC"
                && utcTime(UInt64(UInt32.max)) == "2106-02-07 06:28:15 UTC")
        #expect(utcTime(.max) == nil && utcTime(1 << 62) == nil)
    }

    @Test(
        arguments: [
            (0, "0 B"), (1, "1 B"), (512, "512 B"), (999, "999 B"), (1000, "0.977 KiB"), (1024, "1 KiB"),
            (65536, "64 KiB"),
            (1_500_000, "1.43 MiB"), (1 << 30, "1 GiB"), (1 << 63, "8 EiB"), (.max, "16 EiB"),
        ] as [(UInt64, String)])
    func `has sizes of three digits`(count: UInt64, shown: String) {
        #expect(humanSize(count) == shown)
    }

    @Test func `is counted as people count`() {
        #expect(counted(1, "byte") == "1 byte" && counted(0, "byte") == "0 bytes")
        #expect(counted(1, "entry", "entries") == "1 entry" && counted(2 as UInt64, "entry", "entries") == "2 entries")
    }

    @Test(arguments: [
        ("disk.qcow2", "disk.qcow2"), ("/srv/a-b_c,d@e:f%g+h", "/srv/a-b_c,d@e:f%g+h"), ("é", "é"), ("", "''"),
        ("a b", "'a b'"), ("~/x", "'~/x'"), ("=ls", "'=ls'"), ("it's", #"'it'\''s'"#), ("$(x)`y`", "'$(x)`y`'"),
        // A letter that joins with the quotation mark behind it into one Character.
        ("q\u{0d4e}'; x", "'q\u{0d4e}'\\''; x'"), ("a\u{0d4e}`b", "'a\u{0d4e}`b'"), ("a\nb", "'a\nb'"),
    ])
    func `are words of a shell`(text: String, word: String) {
        #expect(Array(shellWord(text).utf8) == Array(word.utf8))
    }
}
