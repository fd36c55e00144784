import BlockImage
import HostTools
import TestImages
import Testing

@testable import OVA

struct `A damaged archive` {
    private let end = [UInt8](repeating: 0, count: 1024)

    /// An archive of one good member, of 1,024 bytes, and then `more`.
    private func after(_ more: [UInt8]) throws -> TarArchive {
        var builder = TarBuilder()
        builder.add("good", [1, 2, 3])
        builder.append(more)
        let found = try archive(builder.bytes)
        #expect(found.members.first?.text == "good")
        return found
    }

    private func error(_ code: ImageError.Code, at offset: UInt64, _ message: String) -> ImageError {
        ImageError(code, path: "a.ova", offset: HostOffset(offset), "\(message)")
    }

    @Test func `is none when it does not begin with a header`() {
        let cases: [([UInt8], ImageError)] = [
            ([], error(.corrupt, at: 0, "this is no tar archive: 0 bytes are left, fewer than a header has (512)")),
            (
                [1, 2, 3],
                error(.corrupt, at: 0, "this is no tar archive: 3 bytes are left, fewer than a header has (512)")
            ),
            (
                Array("KDMV".utf8) + [UInt8](repeating: 7, count: 1000),
                error(
                    .corrupt, at: 148,
                    "this is no tar archive: header checksum: is not the sum of the block's bytes, so that this is no header"
                )
            ),
            (
                [UInt8](repeating: 0, count: 10_240),
                error(.corrupt, at: 0, "this is no tar archive, or an empty one: it begins with zeros")
            ),
        ]
        for (bytes, expected) in cases {
            #expect(throws: expected) { _ = try archive(bytes) }
        }
    }

    @Test(
        arguments: [
            ("gzip", [0x1f, 0x8b, 8]), ("xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), ("bzip2", Array("BZh9".utf8)),
            ("zstd", [0x28, 0xb5, 0x2f, 0xfd]),
        ] as [(String, [UInt8])], [0, 2000])
    func `that is compressed is refused with what to do`(compression: (String, [UInt8]), padding: Int) {
        #expect(
            throws: ImageError(
                .unsupported, path: "a.ova",
                "the archive: is compressed with \(compression.0), and disks can be read in place only: "
                    + "decompress it first")
        ) { _ = try archive(compression.1 + [UInt8](repeating: 9, count: padding)) }
    }

    @Test func `is not taken for a compressed one when its first name begins like it`() throws {
        var builder = TarBuilder()
        builder.add("BZh.img", [])
        #expect(try archive(builder.finished).members.count == 1)
    }

    @Test func `is listed up to a header that is none`() throws {
        var bad = TarBuilder.header(Array("bad".utf8), size: TarBuilder.octal(0), type: 0x30)
        bad[0] ^= 1
        let found = try after(bad + end)
        #expect(found.members.count == 1)
        #expect(
            found.fault
                == error(
                    .corrupt, at: 1024 + 148,
                    "header checksum: is not the sum of the block's bytes, so that this is no header"))
    }

    @Test func `is listed up to a size that no file can have`() throws {
        let negative = [UInt8](repeating: 0xff, count: 12)
        let cases: [([UInt8], String)] = [
            (negative, "size: is -1, below zero"),
            (TarBuilder.base256(.max), "size: is neither an octal number, nor one in base 256 below 2^63"),
            (Array("0000000001x ".utf8), "size: is neither an octal number, nor one in base 256 below 2^63"),
            (Array("-0000000001 ".utf8), "size: is neither an octal number, nor one in base 256 below 2^63"),
        ]
        for (size, message) in cases {
            let found = try after(TarBuilder.header(Array("bad".utf8), size: size, type: 0x30) + end)
            #expect(found.members.count == 1)
            #expect(found.fault == error(.corrupt, at: 1024 + 124, message))
        }
    }

    @Test func `shows the member that it was cut in`() throws {
        for size in [5000, 1 << 33 - 1] {
            let found = try after(
                TarBuilder.header(Array("cut".utf8), size: TarBuilder.octal(size), type: 0x30) + [1, 2, 3])
            #expect(found.members.map(\.isCut) == [false, true])
            #expect(found.members[1].size == UInt64(size))
            #expect(
                found.fault
                    == error(
                        .truncated, at: 1536,
                        "member \"cut\": has \(size) bytes, but the archive ends \(size - 3) bytes early"))
        }
        // The largest size of all, and nothing that overflows.
        let huge = try after(
            TarBuilder.header(Array("cut".utf8), size: TarBuilder.base256(UInt64(Int64.max)), type: 0x30))
        #expect(huge.members[1].isCut)
        #expect(huge.fault?.code == .truncated)
    }

    @Test func `that was cut in a header is listed up to that`() throws {
        let header = TarBuilder.header(Array("cut".utf8), size: TarBuilder.octal(0), type: 0x30)
        let found = try after(Array(header.prefix(300)))
        #expect(found.members.count == 1)
        #expect(found.fault == error(.truncated, at: 1024, "300 bytes are left, fewer than a header has (512)"))
    }

    @Test(
        arguments: [
            ("x", "pax record: must begin with its length, a decimal number"),
            (
                "99999999999 path=a\n",
                "pax record: says that it has 9999999999 bytes, which must be more than its length takes and no more "
                    + "than the 19 that are there"
            ),
            (
                "1 path=a\n",
                "pax record: says that it has 1 bytes, which must be more than its length takes and no more than the 9 "
                    + "that are there"
            ),
            (
                "0 path=a\n",
                "pax record: says that it has 0 bytes, which must be more than its length takes and no more than the 9 "
                    + "that are there"
            ),
            (
                "11 path=a\n",
                "pax record: says that it has 11 bytes, which must be more than its length takes and no more than the 10 "
                    + "that are there"
            ),
            ("8 path=a\n", "pax record: must have a blank after its length, and end a line"),
            ("10 path=ab", "pax record: must have a blank after its length, and end a line"),
            ("-10 path=a\n", "pax record: must begin with its length, a decimal number"),
        ])
    func `is listed up to a pax header that is none`(records: String, message: String) throws {
        var builder = TarBuilder()
        builder.add("x", Array(records.utf8), type: UInt8(ascii: "x"))
        let found = try after(builder.bytes + end)
        #expect(found.members.count == 1)
        #expect(found.fault == error(.corrupt, at: 1536, message))
    }

    @Test func `is listed up to a pax size that is none`() throws {
        for size in ["9223372036854775808", "-1", "1e3", " 1", "18446744073709551616"] {
            var builder = TarBuilder()
            builder.addRecords([("size", size)])
            builder.add("bad", [])
            let found = try after(builder.bytes + end)
            #expect(found.members.count == 1)
            #expect(
                found.fault == error(.corrupt, at: 2048, "pax record \"size\": must be a decimal number below 2^63"))
        }
    }

    @Test func `is listed up to names and headers that are too long`() throws {
        let long = [UInt8](repeating: UInt8(ascii: "n"), count: 4098)
        var builder = TarBuilder(.gnu)
        builder.add("L", long, type: UInt8(ascii: "L"))
        #expect(
            try after(builder.bytes + end).fault
                == error(.unsupported, at: 1024, "long name: has 4098 bytes, and must have no more than 4097"))

        builder = TarBuilder()
        builder.addRecords([("path", String(repeating: "n", count: 4097))])
        builder.add("x", [])
        #expect(
            try after(builder.bytes + end).fault
                == error(
                    .unsupported, at: 1024 + UInt64(builder.bytes.count) - 512,
                    "member name: has 4097 bytes, and must have no more than 4096"))

        builder = TarBuilder()
        builder.add("x", [UInt8](repeating: 0, count: 1 << 20 + 1), type: UInt8(ascii: "x"))
        #expect(
            try after(builder.bytes + end).fault
                == error(.unsupported, at: 1024, "pax header: has 1048577 bytes, and must have no more than 1048576"))

        builder = TarBuilder()
        builder.append(TarBuilder.header([1], size: TarBuilder.octal(4000), type: UInt8(ascii: "x")))
        #expect(
            try after(builder.bytes + end).fault
                == error(.truncated, at: 1024, "pax header: has 4000 bytes, but the archive ends before them"))
    }

    @Test func `has names of 4096 bytes`() throws {
        let long = [UInt8](repeating: UInt8(ascii: "n"), count: 4096)
        var builder = TarBuilder(.gnu)
        builder.add("L", long + [0], type: UInt8(ascii: "L"))
        builder.add("x", [1])
        #expect(try archive(builder.finished).members.map(\.name) == [long])
    }

    @Test func `with too many members is listed up to the limit`() throws {
        let header = TarBuilder.header(Array("n".utf8), size: TarBuilder.octal(0), type: 0x30)
        let count = TarArchive.memberLimit + 1
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count * 512)
        for _ in 0..<count { bytes += header }
        let found = try archive(bytes + end)
        #expect(found.members.count == TarArchive.memberLimit)
        #expect(
            found.fault
                == error(
                    .unsupported, at: UInt64(TarArchive.memberLimit) * 512,
                    "the archive has more than 65536 members, which is the limit"))
    }

    @Test func `with headers and no members, or with records without end, is given up`() throws {
        let limits = TarArchive.Limits(headers: 5000)
        let empty = TarBuilder.header(Array("g".utf8), size: TarBuilder.octal(0), type: UInt8(ascii: "g"))
        let repeated = RepeatingFile(empty, size: 1 << 40)
        #expect(
            try TarArchive(reading: repeated, within: limits).fault
                == ImageError(
                    .unsupported, path: "endless", offset: HostOffset(5000 * 512),
                    "the archive has more than 5000 headers, which is the limit"))

        var builder = TarBuilder()
        builder.add("g", [UInt8](repeating: 0, count: 1 << 20), type: UInt8(ascii: "g"))
        let large = RepeatingFile(builder.bytes, size: 1 << 40)
        #expect(
            try TarArchive(reading: large).fault
                == ImageError(
                    .unsupported, path: "endless", offset: HostOffset(16 * UInt64(builder.bytes.count)),
                    "pax header: with those before it there are more than 16777216 bytes of names and pax headers, "
                        + "which is the limit"))

        let sparse = TarBuilder.header(Array("s".utf8), size: TarBuilder.octal(0), type: 0x53, format: .gnu) { block in
            block[482] = 1
            block[504] = 1
        }
        #expect(
            try TarArchive(reading: RepeatingFile(sparse, size: 1 << 40), within: limits).fault?.code == .unsupported)
        #expect(
            try archive(sparse).fault == error(.truncated, at: 512, "sparse map: the archive ends before it does"))
    }

    @Test(arguments: 0..<24) func `never traps or hangs, whatever bytes change`(seed: Int) throws {
        var random = SeededRandom(seed: UInt64(seed))
        var builder = TarBuilder(seed % 2 == 0 ? .gnu : .ustar)
        builder.add("L", Array(repeating: UInt8(ascii: "n"), count: 300), type: UInt8(ascii: "L"))
        builder.add("a.ovf", Array(OVFSamples.vmware.utf8))
        builder.addRecords([("path", "disk1.vmdk"), ("size", "700"), ("mtime", "1.5"), ("GNU.sparse.major", "1")])
        builder.append(TarBuilder.header([1], size: TarBuilder.octal(700), type: 0x30))
        builder.append([UInt8](repeating: 3, count: 1024))
        builder.add("disk2.vmdk", [UInt8](repeating: 1, count: 600))
        builder.addRecords([("path", "x")], type: UInt8(ascii: "g"))
        builder.add("s", [1, 2, 3], type: UInt8(ascii: "S"))
        let good = builder.finished
        // Half of the changes are in headers that get a right checksum again.
        let headers = stride(from: 0, to: good.count, by: 512).filter {
            (try? TarHeader(parsing: Array(good[$0..<$0 + 512]))) != nil
        }
        for _ in 0..<200 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                bytes[index] = UInt8.random(in: 0...255, using: &random)
                let header = headers.randomElement(using: &random)!
                bytes[header + [124, 125, 134, 156, 156, 257, 482].randomElement(using: &random)!] = .random(
                    in: 0...255, using: &random)
                bytes.replaceSubrange(
                    header..<header + 512, with: TarBuilder.withChecksum(Array(bytes[header..<header + 512])))
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            guard let appliance = try? Appliance(MemoryFile(bytes)) else { continue }
            for disk in appliance.disks {
                if case .success(let file) = disk.file { _ = try file.wholeFile() }
            }
        }
    }
}

/// A file that repeats the same bytes without end.
private final class RepeatingFile: HostFile {
    let id = HostFileID()
    let path = "endless"
    let size: UInt64
    let allocatedSize: UInt64 = 0
    let identity: FileIdentity? = nil
    let modified = FileTime(seconds: 0, nanoseconds: 0)
    let isCurrent = true
    let descriptor: CInt? = nil
    private let bytes: [UInt8]

    init(_ bytes: [UInt8], size: UInt64) {
        self.bytes = bytes
        self.size = size
    }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        var position = Int(offset.rawValue) % bytes.count
        var rest = count
        while rest > 0 {
            let step = min(rest, bytes.count - position)
            bytes.withUnsafeBytes { all in
                output.append(copying: UnsafeRawBufferPointer(rebasing: all[position..<position + step]).bytes)
            }
            rest -= step
            position = 0
        }
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
