import ByteFormat
import Foundation
import HostTools
import TestImages
import Testing

@testable import Encryption

/// LUKS containers, and encrypted QCOW2 images, that QEMU writes and reads.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct EncryptionOracleTests {
    /// One combination of what `qemu-img create -f luks` can be told.
    struct Choice: CustomTestStringConvertible, Sendable {
        var cipher: String
        var mode: String
        var ivgen: String
        var hash: String

        var testDescription: String { "\(cipher)-\(mode)-\(ivgen), \(hash)" }

        var options: String {
            let parts = ivgen.split(separator: ":")
            let ivHash = parts.count > 1 ? ",ivgen-hash-alg=\(parts[1])" : ""
            return "cipher-alg=\(cipher),cipher-mode=\(mode),ivgen-alg=\(parts[0])\(ivHash),hash-alg=\(hash)"
        }
    }

    /// Every cipher with every generator of initial vectors, the hashes in turn: QEMU takes two seconds to make one.
    static let matrix: [Choice] = {
        let hashes = ["sha1", "sha256", "sha512"]
        var choices: [Choice] = []
        // 24 · 4000 bytes of key material are no whole sectors: QEMU ends with a failed assertion when it is to make
        // a container with aes-192 and cbc.
        let ciphers = [
            ("aes-128", "xts"), ("aes-192", "xts"), ("aes-256", "xts"), ("aes-128", "cbc"), ("aes-256", "cbc"),
        ]
        for (row, cipher) in ciphers.enumerated() {
            for (column, ivgen) in ["plain64", "plain", "essiv:sha256"].enumerated() {
                let hash = hashes[(row + column) % hashes.count]
                choices.append(Choice(cipher: cipher.0, mode: cipher.1, ivgen: ivgen, hash: hash))
            }
        }
        for hash in ["md5", "sha224", "sha384", "ripemd160"] {
            choices.append(Choice(cipher: "aes-256", mode: "xts", ivgen: "plain64", hash: hash))
        }
        for mode in ["ecb", "ctr"] {
            choices.append(Choice(cipher: "aes-128", mode: mode, ivgen: "plain64", hash: "sha256"))
        }
        choices.append(Choice(cipher: "aes-256", mode: "cbc", ivgen: "essiv:md5", hash: "sha256"))
        return choices
    }()

    private static let secrets = [
        "--object", "secret,id=s,data=abc", "--object", "secret,id=t,data=an other one",
    ]

    /// Runs a program of QEMU's that must succeed, and answers its output.
    @discardableResult
    private static func run(_ name: String, _ arguments: [String]) throws -> Data {
        let result = try Tool.run(name, arguments)
        guard result.status == 0 else { throw ToolFailure(description: "\(name) \(arguments): \(result.errors)") }
        return result.output
    }

    private static func create(_ path: String, format: String, _ options: String, size: String) throws {
        try run("qemu-img", ["create", "-q", "-f", format] + secrets + ["-o", options, path, size])
    }

    /// Writes runs of patterns through QEMU, some of them not aligned to its sectors.
    private static func write(_ image: String) throws {
        let commands = [
            "write -P 0xa1 0 64k", "write -P 0xb2 100k 3000", "write -P 0xc3 511k 513", "write -P 0xd4 959k 1k",
        ]
        try run("qemu-io", secrets + commands.flatMap { ["-c", $0] } + ["--image-opts", image])
    }

    private static func content(of image: String, in folder: TemporaryFolder) throws -> [UInt8] {
        try run("qemu-img", ["convert", "-O", "raw"] + secrets + ["--image-opts", image, folder.file("raw")])
        return try bytes(folder.file("raw"))
    }

    private static func bytes(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    /// The payload of a LUKS container, decrypted as `passphrase` has it.
    private static func payload(of path: String, _ passphrase: String, size: Int) throws -> [UInt8] {
        let container = Container(bytes: try bytes(path))
        let start = Int(try container.header().payloadOffset) * 512
        return try container.unlock(passphrase).decrypted(Array(container.bytes[start..<start + size]))
    }

    @Test(arguments: matrix)
    func `a container of QEMU's decrypts to what QEMU reads`(choice: Choice) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("luks")
        let image = "driver=luks,key-secret=s,file.filename=\(path)"
        try Self.create(path, format: "luks", "key-secret=s,iter-time=50,\(choice.options)", size: "960k")
        try Self.write(image)
        let expected = try Self.content(of: image, in: folder)
        #expect(expected.count == 960 << 10 && expected[0] == 0xa1 && expected[960 << 10 - 1] == 0xd4)
        #expect(try Self.payload(of: path, "abc", size: expected.count) == expected)
    }

    @Test func `each key slot that QEMU adds opens, and none that it removes`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("luks")
        let image = "driver=luks,key-secret=s,file.filename=\(path)"
        try Self.create(path, format: "luks", "key-secret=s,iter-time=50", size: "960k")
        try Self.write(image)
        let expected = try Self.content(of: image, in: folder)
        let amend = ["amend"] + Self.secrets + ["--image-opts", image, "-o"]
        try Self.run("qemu-img", amend + ["state=active,new-secret=t,keyslot=5,iter-time=50"])
        #expect(try Self.payload(of: path, "abc", size: expected.count) == expected)
        #expect(try Self.payload(of: path, "an other one", size: expected.count) == expected)
        try Self.run("qemu-img", amend + ["state=inactive,keyslot=0"])
        #expect(try Self.payload(of: path, "an other one", size: expected.count) == expected)
        let container = Container(bytes: try Self.bytes(path))
        #expect(try UnlockTests.failure(of: container, "abc") == UnlockTests.wrongKey)
        #expect(try container.header().keySlots.map(\.isActive) == (0..<8).map { $0 == 5 })
    }

    @Test func `a container with a damaged digest opens neither here nor in QEMU`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("luks")
        try Self.create(path, format: "luks", "key-secret=s,iter-time=50", size: "64k")
        var container = Container(bytes: try Self.bytes(path))
        container.bytes[115] ^= 0x10
        try folder.write(container.bytes, to: "luks")
        #expect(try UnlockTests.failure(of: container, "abc") == UnlockTests.wrongKey)
        #expect(throws: ToolFailure.self) {
            try Self.content(of: "driver=luks,key-secret=s,file.filename=\(path)", in: folder)
        }
    }

    @Test(arguments: ["serpent-256", "twofish-256", "cast5-128"])
    func `a cipher that libcrypto does not have is refused by its name`(cipher: String) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("luks")
        let mode = cipher == "cast5-128" ? "cbc" : "xts"
        try Self.create(
            path, format: "luks", "key-secret=s,iter-time=50,cipher-alg=\(cipher),cipher-mode=\(mode)", size: "64k")
        let name = cipher.prefix { $0 != "-" }
        #expect(
            try UnlockTests.failure(of: Container(bytes: Self.bytes(path)), "abc")
                == EncryptionFault(
                    .unsupported, at: 8, "cipher-name: the cipher '\(name)' is not supported; 'aes' is"))
    }

    /// Where the clusters of a small QCOW2 image lie, as its L1 table and the one L2 table say.
    private static func clusters(of file: [UInt8]) throws -> [(guest: Int, host: Int)] {
        func word(at position: Int) throws -> Int {
            var reader = ByteReader(file, at: position)
            return Int(truncatingIfNeeded: try reader.read(.big, as: UInt64.self) & 0x00ff_ffff_ffff_fe00)
        }
        let l2 = try word(at: word(at: 40))
        return try (0..<15).map { ($0 * 65536, try word(at: l2 + $0 * 8)) }.filter { $0.1 != 0 }
    }

    @Test func `the legacy AES of a QCOW2 image counts the guest's sectors`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("qcow2")
        let image = "driver=qcow2,encrypt.key-secret=s,file.filename=\(path)"
        try Self.create(path, format: "qcow2", "encrypt.format=aes,encrypt.key-secret=s", size: "960k")
        try Self.write(image)
        let expected = try Self.content(of: image, in: folder)
        let file = try Self.bytes(path)
        let cipher = try LegacyAES.cipher(for: Secret(Array("abc".utf8)))
        let clusters = try Self.clusters(of: file)
        #expect(clusters.map(\.guest) == [0, 1, 7, 14].map { $0 * 65536 })
        for cluster in clusters {
            let encrypted = Array(file[cluster.host..<cluster.host + 65536])
            #expect(
                try cipher.decrypted(encrypted, firstSector: UInt64(cluster.guest / 512))
                    == Array(expected[cluster.guest..<cluster.guest + 65536]))
        }
    }

    @Test func `the LUKS of a QCOW2 image counts the file's sectors`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("qcow2")
        let image = "driver=qcow2,encrypt.key-secret=s,file.filename=\(path)"
        try Self.create(
            path, format: "qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=50", size: "960k")
        try Self.write(image)
        let expected = try Self.content(of: image, in: folder)
        let file = try Self.bytes(path)
        // The header begins a cluster of its own.
        let start = try #require(
            stride(from: 0, to: file.count, by: 65536).first { file[$0...].starts(with: LUKS1Header.magic) })
        let cipher = try Container(bytes: Array(file[start...])).unlock("abc")
        let clusters = try Self.clusters(of: file)
        #expect(clusters.map(\.guest) == [0, 1, 7, 14].map { $0 * 65536 })
        for cluster in clusters {
            let encrypted = Array(file[cluster.host..<cluster.host + 65536])
            #expect(
                try cipher.decrypted(encrypted, firstSector: UInt64(cluster.host / 512))
                    == Array(expected[cluster.guest..<cluster.guest + 65536]))
        }
    }
}
