import BlockImage
import ByteFormat
import HostTools
import TestImages
import Testing

@testable import OVA

private func envelope(_ text: String) throws(ParseFault) -> OVFEnvelope {
    try OVFEnvelope(parsing: Array(text.utf8))
}

struct `An OVF descriptor` {
    @Test func `of VMware is read`() throws {
        let found = try envelope(OVFSamples.vmware)
        #expect(
            found.files == [
                OVFEnvelope.File(id: "file1", href: "disk1.vmdk", size: 700),
                OVFEnvelope.File(id: "file2", href: "disk2.vmdk", size: 600),
                OVFEnvelope.File(id: "file3", href: "tools.iso", size: 5),
            ])
        #expect(
            found.disks == [
                OVFEnvelope.Disk(
                    diskId: "vmdisk1", fileRef: "file1", capacity: 30 << 20,
                    format: "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
                    populatedSize: 18_743_296),
                OVFEnvelope.Disk(diskId: "vmdisk2", fileRef: "file2", capacity: 8 << 30),
                OVFEnvelope.Disk(diskId: "vmdisk3"),
            ])
        #expect(
            found.systems == [
                OVFEnvelope.VirtualSystem(id: "vm", name: "My <tiny> & own VM", diskIds: ["vmdisk2", "vmdisk1"])
            ])
        #expect(found.notes == [])
        #expect(found.file("file2")?.href == "disk2.vmdk")
        #expect(found.file("file4") == nil)
    }

    @Test func `of version 0.9 is read`() throws {
        let found = try envelope(OVFSamples.oldVirtualBox)
        #expect(found.files == [OVFEnvelope.File(id: "file1", href: "old.vmdk", size: 123)])
        #expect(
            found.disks == [
                OVFEnvelope.Disk(
                    diskId: "disk1", fileRef: "file1", capacity: 2 << 30,
                    format: "http://www.vmware.com/specifications/vmdk.html#sparse")
            ])
        #expect(found.systems == [OVFEnvelope.VirtualSystem(id: "Old", name: nil, diskIds: ["disk1"])])
    }

    @Test func `of version 2 is read`() throws {
        let found = try envelope(OVFSamples.version2)
        #expect(
            found.files == [
                OVFEnvelope.File(id: "a", href: "chunked.vmdk", size: 250, chunkSize: 100),
                OVFEnvelope.File(id: "b", href: "packed.img.gz", size: 9, compression: "gzip"),
                OVFEnvelope.File(id: "c", href: "plain.img"),
            ])
        #expect(found.disks.map(\.diskId) == ["base", "delta", "shared"])
        #expect(found.disks.map(\.parentRef) == [nil, "base", nil])
        #expect(
            found.systems == [
                OVFEnvelope.VirtualSystem(id: "one", name: "One", diskIds: ["delta"]),
                OVFEnvelope.VirtualSystem(id: "two", name: nil),
            ])
    }

    @Test(
        arguments: [
            ("byte", 1), ("byte * 2^20", 1 << 20), ("byte*2^30", 1 << 30), (" Byte  *  2^40 ", 1 << 40),
            ("byte * 10^9", 1_000_000_000), ("byte * 1024 * 3", 3072), ("KiloBytes", 1 << 10), ("MegaBytes", 1 << 20),
            ("GigaBytes", 1 << 30), ("TeraByte", 1 << 40), ("", 1), ("bytes", 1), ("megabytes * 2", 2 << 20),
            ("byte * 2^63", 1 << 63), ("byte * 2^64", nil), ("byte * 10^20", nil), ("byte * 10^63", nil),
            ("bit", nil), ("byte * 2^", nil), ("byte * ^2", nil), ("byte *", nil), ("byte * 2^-1", nil),
            ("byte * 2^99999999999999999999", nil), ("hertz * 10^6", nil), ("byte * 1^63", 1),
        ] as [(String, UInt64?)])
    func `has units of capacity`(text: String, unit: UInt64?) {
        #expect(allocationUnit(text) == unit)
    }

    @Test func `has values that are none, which are noted`() throws {
        let found = try envelope(
            OVFSamples.envelope(
                files: """
                    <File ovf:id="f" ovf:href="a" ovf:size="-1" ovf:chunkSize="0x10"/>
                    <File ovf:id="f" ovf:href="b" ovf:size="99999999999999999999"/>
                    <File ovf:id="g"/><File ovf:id="h" ovf:href=""/>
                    """,
                disks: """
                    <Disk ovf:diskId="one" ovf:capacity="18446744073709551615" ovf:capacityAllocationUnits="byte * 2^1"/>
                    <Disk ovf:diskId="two" ovf:capacity="1" ovf:capacityAllocationUnits="parsec"/>
                    <Disk ovf:diskId="three" ovf:capacity="big" ovf:populatedSize="-1" ovf:fileRef=""/>
                    <Disk ovf:diskId="four" ovf:capacity="18446744073709551615" ovf:capacityAllocationUnits="byte"/>
                    <Disk/>
                    """))
        #expect(found.disks.map(\.capacity) == [nil, nil, nil, .max, nil])
        #expect(found.disks.map(\.diskId) == ["one", "two", "three", "four", ""])
        #expect(found.disks.allSatisfy { $0.fileRef == nil })
        #expect(found.files.map(\.href) == ["a", "b"])
        #expect(found.file("f")?.href == "a")
        #expect(
            found.notes == [
                "File \"f\": size \"-1\" is no decimal number", "File \"f\": chunkSize \"0x10\" is no decimal number",
                "File \"f\": comes twice, and the first one counts",
                "File \"f\": size \"99999999999999999999\" is no decimal number",
                "File \"g\": has no href", "File \"h\": has no href",
                "Disk \"one\": capacity 18446744073709551615 in units of 2 bytes is more than any disk has",
                "Disk \"two\": capacityAllocationUnits \"parsec\" is no unit of bytes",
                "Disk \"three\": capacity \"big\" is no decimal number",
                "Disk \"three\": populatedSize \"-1\" is no decimal number",
            ])
    }

    @Test func `has names with every character that XML can have`() throws {
        let found = try envelope(
            OVFSamples.envelope(files: "<File ovf:id='&lt;&amp;&#38;amp;&quot;&#x20AC;é' ovf:href='a&amp;#38;b &gt;'/>")
        )
        #expect(found.files == [OVFEnvelope.File(id: "<&&amp;\"€é", href: "a&#38;b >")])
    }

    @Test func `is read in UTF-8, UTF-16 and the encodings of one byte`() throws {
        func file(_ declaration: String) -> String {
            declaration + OVFSamples.envelope(files: "<File ovf:id=\"1\" ovf:href=\"é.vmdk\"/>")
        }
        func encoded(_ text: String, _ mark: [UInt8], low: Int) -> [UInt8] {
            mark
                + text.utf16.flatMap { unit in
                    low == 0 ? [UInt8(unit & 255), UInt8(unit >> 8)] : [UInt8(unit >> 8), UInt8(unit & 255)]
                }
        }
        let utf16 = file("<?xml version='1.0' encoding='UTF-16'?>")
        let latin = file("<?xml version=\"1.0\" encoding = \"ISO-8859-1\" ?>").unicodeScalars.map { UInt8($0.value) }
        let texts: [[UInt8]] = [
            Array(file("").utf8), Array(file("<?xml version=\"1.0\" encoding=\"utf-8\"?>").utf8),
            Array(file("<?xml version=\"1.0\" encoding=\"UTF8\" standalone='yes'?>").utf8),
            [0xef, 0xbb, 0xbf] + Array(file("<?xml version=\"1.0\"?>").utf8),
            encoded(utf16, [0xff, 0xfe], low: 0), encoded(utf16, [0xfe, 0xff], low: 1),
            encoded(utf16, [], low: 0), encoded(utf16, [], low: 1), latin,
            file("<?xml version='1.0' encoding='windows-1252'?>").unicodeScalars.map { UInt8($0.value) },
        ]
        for text in texts {
            #expect(try OVFEnvelope(parsing: text).files.map(\.href) == ["é.vmdk"])
        }
        // What is no UTF-8, though it says so.
        var wrong = latin
        wrong.removeFirst(latin.firstIndex(of: UInt8(ascii: ">"))! + 1)
        #expect(throws: ParseFault.self) { _ = try OVFEnvelope(parsing: wrong) }
    }

    @Test(arguments: ["UTF-7", "IBM037", "UTF-32", "EBCDIC-CP-US", "", "ISO-2022-JP"])
    func `is not read in other encodings`(name: String) {
        let text = "<?xml version=\"1.0\" encoding=\"\(name)\"?><Envelope/>"
        #expect(
            throws: ParseFault(
                at: 20,
                "OVF descriptor: is in the encoding \"\(name)\", but must be in UTF-8, UTF-16, ISO-8859 or windows-125x; "
                    + "iconv(1) converts the file to UTF-8"
            )
        ) { _ = try envelope(text) }
    }
}

struct `A broken OVF descriptor` {
    @Test(
        arguments: [
            ("", [0xe9], "is in UTF-8 by what it says, or because it names no encoding, but the byte 0xe9 begins"),
            (
                "<?xml version='1.0' encoding='utf-8'?>", [0xc3, 0xa9, 0xff],
                "but the byte 0xff begins no character of UTF-8"
            ),
            (
                "<?xml version='1.0' encoding='windows-1252'?>", [0x81],
                "\"windows-1252\", but the byte 0x81 is no character of that"
            ),
        ] as [(String, [UInt8], String)])
    func `says in full what is wrong with its encoding, and where`(declaration: String, bytes: [UInt8], words: String) {
        let text = Array("\(declaration)<Envelope name='".utf8) + bytes + Array("'/>".utf8)
        let fault = #expect(throws: ParseFault.self) { _ = try OVFEnvelope(parsing: text) }
        #expect(fault?.position == text.count - 4, "\(fault?.position ?? -1)")
        let message = fault.map { "\($0.message)" } ?? ""
        #expect(message.contains(words) && message.hasSuffix("iconv(1) converts the file to UTF-8"), "\(message)")
    }

    @Test func `in UTF-16 that ends in the middle of a character was cut, which is said`() {
        let text = Array("<Envelope/>".utf8.flatMap { (byte: UInt8) -> [UInt8] in [byte, 0] }.dropLast())
        let fault = #expect(throws: ParseFault.self) { _ = try OVFEnvelope(parsing: text) }
        #expect(fault?.position == text.count - 1 && fault.map { "\($0.message)".contains("is in UTF-16, ") } == true)
    }

    @Test(arguments: [
        ("", 0, "line 1: is no well-formed XML: "), (" ", 1, "line 1: is no well-formed XML: "),
        ("<Envelope>", 10, "line 1: is no well-formed XML: "),
        ("<Envelope>\n<References>\n</Envelope>", 26, "line 3: is no well-formed XML: mismatched tag"),
        ("<Envelope>\n&undeclared;\n</Envelope>", 11, "line 2: is no well-formed XML: undefined entity"),
        ("<Envelope/><Envelope/>", 11, "line 1: is no well-formed XML: junk after document element"),
        ("not xml", 0, "line 1: is no well-formed XML: syntax error"),
        ("<html><body/></html>", 0, "its root is the element \"html\", but must be Envelope"),
        ("<Envelope a='1' a='2'/>", 16, "line 1: is no well-formed XML: duplicate attribute"),
        ("<Envelope>\0</Envelope>", 10, "line 1: is no well-formed XML: "),
    ])
    func `is refused with its line`(text: String, position: Int, message: String) {
        do throws(ParseFault) {
            _ = try envelope(text)
            Issue.record("\(text) was read")
        } catch {
            #expect(error.position == position)
            #expect(error.message.hasPrefix("OVF descriptor: \(message)"), "\(error.message)")
            #expect(!error.message.contains("\n"))
        }
    }

    @Test func `is refused when it declares anything`() throws {
        // A billion laughs: ten entities, each ten times the one before.
        var bomb = "<?xml version=\"1.0\"?>\n<!DOCTYPE Envelope [<!ENTITY l0 \"ha\">"
        for level in 1..<10 {
            bomb += "<!ENTITY l\(level) \"\(String(repeating: "&l\(level - 1);", count: 10))\">"
        }
        bomb += "]><Envelope><References><File href=\"&l9;\" id=\"&l9;\"/></References></Envelope>"
        let external = """
            <!DOCTYPE Envelope [<!ENTITY secret SYSTEM "file:///etc/passwd">]>
            <Envelope><VirtualSystem><Name>&secret;</Name></VirtualSystem></Envelope>
            """
        let parameter = "<!DOCTYPE x [<!ENTITY % p SYSTEM \"file:///etc/passwd\"> %p;]><Envelope/>"
        let outside = "<!DOCTYPE Envelope SYSTEM \"http://localhost:1/ovf.dtd\"><Envelope/>"
        for text in [bomb, external, parameter, outside] {
            #expect(
                throws: ParseFault(
                    at: text == bomb ? 22 : 0,
                    "OVF descriptor: has a document type declaration, which no descriptor may have here")
            ) { _ = try envelope(text) }
        }
    }

    @Test func `is refused beyond its limits`() throws {
        let large = [UInt8](repeating: UInt8(ascii: " "), count: OVFEnvelope.sizeLimit + 1)
        #expect(
            throws: ParseFault(at: 0, "OVF descriptor: has 2097153 bytes, and must have no more than 2097152")
        ) { _ = try OVFEnvelope(parsing: large) }

        let attributes = (0..<257).map { " a\($0)='>'" }.joined()
        #expect(throws: ParseFault.self) { _ = try envelope("<Envelope\(attributes)/>") }
        do throws(ParseFault) { _ = try envelope("<Envelope\(attributes)/>") } catch {
            #expect(
                error.message
                    == "OVF descriptor: has a tag with more than 256 attributes, which is the limit")
        }
        let few = (0..<256).map { " a\($0)='>'" }.joined()
        #expect(try envelope("<Envelope\(few)/>").files == [])

        let namespaces = (0..<257).map { "<x xmlns:n\($0)='u'/>" }.joined()
        do throws(ParseFault) {
            _ = try envelope("<Envelope>\(namespaces)</Envelope>")
            Issue.record("read")
        } catch {
            #expect(
                error.message
                    == "OVF descriptor: has more than 256 namespace declarations, which is the limit")
        }

        let deep = String(repeating: "<a>", count: 300)
        #expect(
            throws: ParseFault(
                at: 775, "OVF descriptor: has elements more than 256 deep, which is the limit")
        ) { _ = try envelope("<Envelope>\(deep)") }

        let files = (0...OVFEnvelope.listLimit).map { "<File id='\($0)' href='x'/>" }.joined()
        #expect(
            throws: ParseFault(at: 0, "OVF descriptor: has more than 16384 files, which is the limit")
        ) { _ = try envelope(OVFSamples.envelope(files: files)) }
        let disks = String(repeating: "<Disk/>", count: OVFEnvelope.listLimit + 1)
        #expect(
            throws: ParseFault(at: 0, "OVF descriptor: has more than 16384 disks, which is the limit")
        ) { _ = try envelope(OVFSamples.envelope(files: "", disks: disks)) }
        let notes = try envelope(OVFSamples.envelope(files: String(repeating: "<File/>", count: 1000)))
        #expect(notes.notes.count == OVFEnvelope.noteLimit)
    }

    @Test func `takes no more time than its size does`() throws {
        // What makes the parser slow: many attributes, many namespaces in force, many names.
        let tag = "<a" + (0..<250).map { " b\($0)=''" }.joined() + "/>"
        let most = 1 << 20
        let tags = String(repeating: tag, count: most / tag.utf8.count)
        let namespaces = (0..<200).map { " xmlns:n\($0)='u'" }.joined()
        let clock = ContinuousClock()
        let took = try clock.measure {
            _ = try envelope("<Envelope>\(tags)</Envelope>")
            let count = (most - namespaces.utf8.count) / 7
            _ = try envelope("<Envelope\(namespaces)>\(String(repeating: "<n0:a/>", count: count))</Envelope>")
        }
        #expect(took < .seconds(60))
    }

    @Test(arguments: 0..<16) func `never traps, whatever bytes change`(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let samples = [OVFSamples.vmware, OVFSamples.oldVirtualBox, OVFSamples.version2]
        var read = 0
        for _ in 0..<300 {
            var bytes = Array(samples.randomElement(using: &random)!.utf8)
            for _ in 0..<Int.random(in: 1...5, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[index] = .random(in: 0...255, using: &random)
                case 1: bytes[index] = Array("<>&\"'=;/!?[] x:#".utf8).randomElement(using: &random)!
                case 2: bytes.removeSubrange(index..<min(bytes.count, index + 20))
                default: bytes.insert(contentsOf: bytes[index...].prefix(30), at: index)
                }
            }
            if (try? OVFEnvelope(parsing: bytes)) != nil { read += 1 }
        }
        #expect(read > 0)
        #expect(read < 300)
    }

    @Test func `prints nothing, from any thread`() async throws {
        let result = await #expect(
            processExitsWith: .success, observing: [\.standardErrorContent, \.standardOutputContent]
        ) {
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        for text in [
                            "<a", "<Envelope>&x;", "<Envelope x:y='1'/>", "<Envelope xmlns='no uri'/>", "\u{1}",
                        ] {
                            _ = try? OVFEnvelope(parsing: Array(text.utf8))
                        }
                    }
                }
            }
        }
        let errors = try #require(result).standardErrorContent.text
        #expect(errors == "")
        #expect(!(result?.standardOutputContent.text.contains("error") ?? true))
    }
}
