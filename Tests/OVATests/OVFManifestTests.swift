import ByteFormat
import FormatCore
import TestImages
import Testing

@testable import OVA

struct `A manifest` {
    private static let sha1 = "648e20a1e1625b1bb963b08c926bc18e62f15dfc"
    private static let sha256 = String(repeating: "0123456789abcdef", count: 4)

    @Test(arguments: [
        "SHA1 (disk.vmdk) = \(sha1)", "SHA1(disk.vmdk)= \(sha1)", "SHA1(disk.vmdk)=\(sha1)",
        "  sha1\t( disk.vmdk)  =  \(sha1.uppercased())  \r", "Sha1(disk.vmdk)= \(sha1)\r\n\r\n",
        "\u{feff}SHA1(disk.vmdk)= \(sha1)",
    ])
    func `has lines however they are spaced`(line: String) throws {
        let found = try OVFManifest(parsing: Array(line.utf8))
        #expect(found.entries.map(\.algorithm) == ["SHA1"])
        #expect(found.entries.map { trimmed($0.name[...]) } == [Array("disk.vmdk".utf8)[...]])
        #expect(found.entries.map(\.text) == [Self.sha1])
        #expect(found.unreadLines == [])
    }

    @Test(arguments: ["SHA256", "SHA2-256", "sha2-256 ", "SHA-256", "Sha 256"])
    func `has names of algorithms as they are found`(name: String) throws {
        let found = try OVFManifest(parsing: Array("\(name)(disk.vmdk)=\(Self.sha256)".utf8))
        #expect(found.entries.map(\.algorithm) == ["SHA256"])
        // Another family, whose digests have as many bytes.
        #expect(try OVFManifest(parsing: Array("SHA3-256(disk.vmdk)=\(Self.sha256)".utf8)).unreadLines == [1])
    }

    @Test func `has digests of several kinds, and names with anything in them`() throws {
        let sha512 = Self.sha256 + Self.sha256
        let found = try OVFManifest(
            parsing: Array(
                "SHA256(a (1)=b.vmdk)= \(Self.sha256)\nSHA512(b)= \(sha512)\nMD5(c)= \(Self.sha256.prefix(32))\n".utf8))
        #expect(found.entries.map(\.name.text) == ["a (1)=b.vmdk", "b", "c"])
        #expect(found.entries.map(\.digest.count) == [32, 64, 16])
        #expect(found.entries[1].text == sha512)
    }

    @Test func `has lines that are none, which are counted`() throws {
        let lines = [
            "hello", "", "SHA1(a)= \(Self.sha1)", "SHA1(a)= \(Self.sha1)0", "SHA1(a)= \(Self.sha1.dropLast())",
            "SHA1()= \(Self.sha1)", "SHA1(a= \(Self.sha1)", "SHA1 a)= \(Self.sha1)", "CRC32(a)= 01234567",
            "SHA256(a)= \(Self.sha1)", "SHA1(a) \(Self.sha1)", "SHA1(a)= \(Self.sha1.dropLast())g", "=", "(=", ")(=",
        ]
        let found = try OVFManifest(parsing: Array(lines.joined(separator: "\n").utf8))
        #expect(found.entries.count == 1)
        #expect(found.unreadLines == [1] + Array(4...15))
        let many = try OVFManifest(parsing: Array(String(repeating: "x\n", count: 1000).utf8))
        #expect(many.unreadLines == Array(1...16))
    }

    @Test func `has a limit`() throws {
        #expect(try OVFManifest(parsing: []).entries == [])
        #expect(
            throws: ParseFault(at: 0, "manifest: has 4194305 bytes, and must have no more than 4194304")
        ) { _ = try OVFManifest(parsing: [UInt8](repeating: 10, count: OVFManifest.sizeLimit + 1)) }
        let line = "MD5(a)=\(Self.sha256.prefix(32))\n"
        let many = String(repeating: line, count: OVFManifest.entryLimit + 1)
        #expect(many.utf8.count < OVFManifest.sizeLimit)
        #expect(
            throws: ParseFault(
                at: OVFManifest.entryLimit * line.utf8.count,
                "manifest: has more than 65536 entries, which is the limit")
        ) { _ = try OVFManifest(parsing: Array(many.utf8)) }
    }
}
