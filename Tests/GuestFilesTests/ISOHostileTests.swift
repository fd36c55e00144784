import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import GuestFiles

@Suite(.enabled(if: Tool.areThere("xorriso", "genisoimage")))
struct `A hostile ISO 9660` {
    private static let kinds = [
        "xorriso -as mkisofs -quiet -R -J -V HOSTILE -o \"$2\" \"$1\"",
        "genisoimage -quiet -R -no-pad -o \"$2\" \"$1\"", "genisoimage -quiet -J -D -no-pad -o \"$2\" \"$1\"",
        "xorriso -compliance deep_paths_off -rr_reloc_dir moved -outdev \"stdio:$2\" -map \"$1\" /",
    ]

    /// The bytes of an image that `command` makes of a folder "$1", after `more`.
    private static func bytes(_ command: String, _ more: String = ":") throws -> [UInt8] {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            mkdir "$1"; cd "$1"; mkdir -p a/b/c/d/e/f/g/h/i many; echo deep >a/b/c/d/e/f/g/h/i/file
            for i in $(seq 40); do echo zzzzzzzz >"many/file number $i"; done
            ln -s /etc/../x/./y link; ln -s zzz "$(printf %0200d 1)"; mkfifo fifo; head -c 9000 /dev/zero >large
            \(more); (\(command)) >/dev/null 2>&1
            """, folder.file("tree"), folder.file("image"))
        return Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("image"))))
    }

    private static let values: [UInt64] = [
        0, 1, 2, 3, 4, 5, 16, 17, 33, 34, 127, 128, 254, 255, 256, 2047, 2048, 65535, 1 << 24, (1 << 31) - 1, 1 << 31,
        (1 << 32) - 1,
    ]

    @Test(arguments: kinds) func `neither traps nor hangs`(command: String) throws {
        let sound = try Self.bytes(command)
        let all = HostileWalk(sound).run()
        #expect(all > 50)
        // Of each sector that has something, so that structures of all kinds are met.
        let places = stride(from: 0x8000, to: sound.count / 2048 * 2048, by: 2048).map { sector in
            (sector..<sector + 2048).filter { sound[$0] != 0 && sound[$0] != UInt8(ascii: "z") }
        }.filter { !$0.isEmpty }
        var random = SeededRandom(seed: 21)
        var (refused, other) = (0, 0)
        for _ in 0..<3000 {
            var bytes = sound
            for _ in 0..<Int.random(in: 1...9, using: &random) {
                let sector = places[Int.random(in: 0..<places.count, using: &random)]
                let place = sector[Int.random(in: 0..<sector.count, using: &random)]
                let value = Self.values[Int.random(in: 0..<Self.values.count, using: &random)]
                let width = [1, 1, 2, 4][Int.random(in: 0..<4, using: &random)]
                for index in 0..<width where place + index < bytes.count {
                    bytes[place + index] = UInt8(truncatingIfNeeded: value >> UInt64(index * 8))
                }
            }
            let count = HostileWalk(bytes).run()
            // A directory that is too large to be one goes on into others, but not round and round.
            #expect(count < 3000)
            if count == 0 { refused += 1 } else if count != all { other += 1 }
        }
        #expect(refused > 0 && other > 100, "\(refused) refused, \(other) with other files")
    }

    private static func opened(_ bytes: [UInt8]) throws -> any GuestFileSystem {
        let disk = Image(layer: RawLayer(file: MemoryFile(bytes)))
        return try #require(try GuestFileSystems.open(disk, path: "memory"))
    }

    private static func file(_ path: String, in system: any GuestFileSystem) throws -> GuestFileID {
        var file = system.root
        for name in path.split(separator: "/") {
            file = try #require(try system.find(Array(name.utf8), in: file), "\(name)")
        }
        return file
    }

    /// Where the record of the directory `name`, at `file`, is in `bytes`.
    private static func record(of name: String, _ file: GuestFileID, in bytes: [UInt8]) throws -> Int {
        let block = UInt32(file.number / 2048)
        return try #require(
            stride(from: 0x8000, to: bytes.count - 64, by: 2).first { place in
                littleEndian(bytes[...], place + 2, as: UInt32.self) == block
                    && bytes[(place + 33)...].starts(with: name.uppercased().utf8)
            })
    }

    @Test(arguments: ["", "a", "a/b", "many"]) func `has no directory in two places`(target: String) throws {
        var bytes = try Self.bytes(Self.kinds[0])
        let system = try Self.opened(bytes)
        let (parent, child) = (try Self.file("a/b", in: system), try Self.file("a/b/c", in: system))
        let place = try Self.record(of: "c", child, in: bytes)
        let block = UInt32(try Self.file(target, in: system).number / 2048)
        for index in 0..<4 { bytes[place + 2 + index] = UInt8(truncatingIfNeeded: block >> UInt32(index * 8)) }
        let damaged = try Self.opened(bytes)
        for path in ["", "a"] { try damaged.list(Self.file(path, in: damaged)) { _ in true } }
        let error = try #require(throws: ImageError.self) { try damaged.list(parent) { _ in true } }
        #expect(error.code == .corrupt && error.message.contains("leads to the directory at"), "\(error)")
        #expect(error.message.contains(target.isEmpty ? "the topmost one" : "in an other one already"))
        #expect(error.message.contains(hexadecimalPlace(place)))
    }

    private func hexadecimalPlace(_ place: Int) -> String { "\(GuestOffset(UInt64(place)))" }

    @Test func `says what is not read`() throws {
        let sound = try Self.bytes(Self.kinds[0])
        var bytes = sound
        // The volume descriptors become those of UDF.
        for (index, name) in ["BEA01", "NSR02", "TEA01"].enumerated() {
            bytes.replaceSubrange(0x8001 + index * 2048..<0x8006 + index * 2048, with: name.utf8)
        }
        let udf = try #require(throws: ImageError.self) { try Self.opened(bytes) }
        #expect(udf.code == .unsupported && udf.message.contains("UDF"))
        bytes = sound
        bytes[0x8000 + 129] = 0
        let block = try #require(throws: ImageError.self) { try Self.opened(bytes) }
        #expect(
            block.code == .corrupt && block.message.contains("0x8080") && block.message.contains("logical block size"))
        let short = try Self.opened(Array(sound.prefix(sound.count - 4096)))
        #expect(short.notes.map { "\($0)" }.contains { $0.contains("but its disk only \(sound.count - 4096)") })
        #expect(try GuestFileSystems.open(Image(layer: RawLayer(file: MemoryFile([1, 2]))), path: "memory") == nil)
    }

    @Test func `refuses files that it cannot read`() throws {
        let sound = try Self.bytes(Self.kinds[0])
        let system = try Self.opened(sound)
        let file = try Self.file("large", in: system)
        func error(_ change: (inout [UInt8]) -> Void) throws -> String {
            var bytes = sound
            change(&bytes)
            let system = try Self.opened(bytes)
            let error = try #require(throws: ImageError.self) { try system.open(file) }
            return "\(error)"
        }
        let place = Int(file.number)
        #expect(try error { $0[place + 27] = 1 }.contains("interleaved"))
        #expect(try error { $0[place + 25] |= 0x80 }.contains("must have whole blocks"))
        #expect(try error { $0[place + 25] |= 2 }.contains("no directory begins here"))
        #expect(try error { $0[place] = 20 }.contains("no directory record is here"))
        let link = try Self.file("link", in: system)
        #expect(throws: ImageError.self) { try system.open(link) }
        #expect(throws: ImageError.self) { try system.target(ofLink: file) }
        for number in [0, 0x8000, 1, UInt64.max, UInt64(sound.count), UInt64(sound.count - 1)] {
            #expect(throws: ImageError.self) { try system.status(of: GuestFileID(number)) }
            #expect(throws: ImageError.self) { try system.list(GuestFileID(number)) { _ in true } }
        }
    }

    /// The live images of Linux: one file system as a whole, and partitions in it.
    @Test(.enabled(if: Tool.areThere("mkfs.vfat", "sfdisk")))
    func `may be a whole disk with partitions`() throws {
        let command = """
            truncate -s 2M "$2.efi"; PATH=$PATH:/usr/sbin; mkfs.vfat -n EFI "$2.efi"
            xorriso -as mkisofs -R -V LIVE -partition_offset 16 -append_partition 2 0xef "$2.efi" -o "$2" "$1"
            """
        let bytes = try Self.bytes(command)
        let whole = try Self.opened(bytes)
        #expect(whole.info.type == "iso9660" && whole.info.label == "LIVE")
        #expect(bytes[510] == 0x55 && bytes[511] == 0xaa)
        let starts = [446 + 8, 462 + 8].map { Int(littleEndian(bytes[...], $0, as: UInt32.self)) * 512 }
        let first = try Self.opened(Array(bytes[starts[0]...]))
        #expect(starts[0] == 16 * 2048 && first.info.type == "iso9660")
        for system in [whole, first] {
            let file = try system.open(try Self.file("a/b/c/d/e/f/g/h/i/file", in: system))
            #expect(try file.bytes(5, at: 0) == Array("deep\n".utf8))
        }
        let second = try Self.opened(Array(bytes[starts[1]...]))
        #expect(second.info.type == "vfat" && second.info.label == "EFI")
    }
}
