import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import GuestFiles

@Suite(.enabled(if: ISOImages.canBeMade))
struct `Files on ISO 9660` {
    /// The files of `system` by path; the root is ".".
    private func files(_ system: any GuestFileSystem) throws -> [String: GuestFileID] {
        var files = [".": system.root]
        var left = [(system.root, ".")]
        while let (directory, path) = left.popLast() {
            try system.list(directory) { entry throws(ImageError) in
                let name = "\(path)/\(String(decoding: entry.name, as: UTF8.self))"
                #expect(files.updateValue(entry.file, forKey: name) == nil, "\(name) is there twice")
                if entry.isDirectory == true { left.append((entry.file, name)) }
                return true
            }
        }
        return files
    }

    /// What stat would print of it.
    private func line(_ status: GuestStatus) -> String {
        var device: (major: UInt32, minor: UInt32) = (0, 0)
        let type: UInt32
        switch status.kind {
        case .fifo: type = 0o010000
        case .characterDevice(let major, let minor): (type, device) = (0o020000, (major, minor))
        case .directory: type = 0o040000
        case .blockDevice(let major, let minor): (type, device) = (0o060000, (major, minor))
        case .regular: type = 0o100000
        case .link: type = 0o120000
        case .socket: type = 0o140000
        }
        let times = [status.modified, status.accessed, status.changed].map { "\($0?.seconds ?? -1)" }
        let numbers = [
            "\(status.size)", "\(status.allocatedSize / 512)", "\(status.linkCount)",
        ]
        let hex = [device.major, device.minor].map { String($0, radix: 16) }
        return
            ([String(type | UInt32(status.permissions), radix: 16)] + numbers + times + [
                "\(status.userID)", "\(status.groupID)",
            ]
            + hex).joined(separator: "\t")
    }

    @Test(arguments: ISOImages.kinds) func `are those that Linux shows`(kind: ISOImages.Kind) throws {
        let images = try ISOImages.all.get()
        let system = try images.open(kind)
        var shown: [String: String] = [:]
        for line in try images.lines(kind, "files") {
            let fields = line.components(separatedBy: "\t")
            shown[fields[0]] = fields.dropFirst().joined(separator: "\t")
        }
        var found = try files(system).mapValues { line(try system.status(of: $0)) }
        if kind.name == "large" {
            // Linux cuts the name of 255 bytes after its first part.
            let long = try #require(found.keys.first { $0.utf8.count == 257 })
            let cut = try #require(shown.keys.first { $0.utf8.count > 50 })
            #expect(long.hasPrefix(cut))
            found[cut] = found.removeValue(forKey: long)
        }
        #expect(shown.count == (kind.name == "large" ? 4 : shown.count) && shown.count >= 4)
        #expect(Set(found.keys) == Set(shown.keys))
        for (path, line) in found { #expect(line == shown[path], "\(path)") }
        let isUDF = kind.name == "udf"
        #expect(system.notes.map { "\($0)".contains("UDF") } == (isUDF ? [true] : []))
        #expect(system.info.type == "iso9660")
    }

    @Test(arguments: ISOImages.kinds) func `have the content that Linux reads`(kind: ISOImages.Kind) throws {
        let images = try ISOImages.all.get()
        let system = try images.open(kind)
        let files = try files(system)
        let folder = try images.folder.makeFolder("\(kind.name)-contents")
        var expected: [(path: String, digest: String)] = []
        for line in try images.lines(kind, "sums") {
            expected.append((String(line.dropFirst(66)), String(line.prefix(64))))
        }
        var (index, compressed) = (0, 0)
        var digests: [String] = []
        for (path, digest) in expected {
            guard let file = files[path] else { continue }
            var bytes: [UInt8]
            if try system.status(of: file).kind == .link {
                bytes = try system.target(ofLink: file) + Array("\n".utf8)
                #expect(throws: ImageError.self) { try system.open(file) }
            } else {
                do throws(ImageError) {
                    let content = try system.open(file)
                    bytes = try content.bytes(Int(content.size), at: 0)
                    #expect(throws: ImageError.self) { try content.bytes(1, at: content.size) }
                } catch {
                    #expect(error.code == .unsupported && "\(error)".contains("zisofs") && kind.name == "zisofs")
                    compressed += 1
                    continue
                }
            }
            try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(index)"))
            digests.append(digest)
            index += 1
        }
        #expect(
            (compressed > 0) == (kind.name == "zisofs")
                && digests.count + compressed >= (kind.name == "large" ? 1 : 300))
        let sums = try Shell.check("cd \"$1\"; for i in $(seq 0 $2); do sha256sum $i; done", folder, "\(index - 1)")
        #expect(sums.split(separator: "\n").map { String($0.prefix(64)) } == digests)
    }

    @Test func `may have more than 4 GiB, in several sections`() throws {
        let images = try ISOImages.all.get()
        let kind = try #require(ISOImages.kinds.last)
        let system = try images.open(kind)
        let file = try #require(try system.find(Array("file".utf8), in: system.root))
        let content = try system.open(file)
        #expect(content.size == 4_299_161_604)
        #expect(try content.bytes(14, at: 4_294_965_240) == Array("at 4294965240\n".utf8))
        #expect(try content.bytes(14, at: 4_294_967_290) == Array("at 4294967290\n".utf8))
        #expect(try content.bytes(10, at: 4_299_161_590) == Array("at 4299161".utf8))
        let sums = try [(4_294_963_200, 12288), (4_299_161_600, 4)].map { (offset: UInt64, count: Int) in
            let path = images.folder.file("border")
            try Data(content.bytes(count, at: offset)).write(to: URL(fileURLWithPath: path))
            return String(try Shell.check("sha256sum \"$1\"", path).prefix(64))
        }
        #expect(try images.lines(kind, "border").map { String($0.prefix(64)) } == sums)
        #expect(try content.run(at: 1, limit: .max) == GuestRun(isData: true, count: content.size - 1))
        let long = [UInt8](repeating: UInt8(ascii: "0"), count: 254) + [UInt8(ascii: "9")]
        #expect(try system.find(long, in: system.root) != nil)
    }

    @Test(arguments: ISOImages.kinds) func `are found by the names that Linux finds`(kind: ISOImages.Kind) throws {
        let images = try ISOImages.all.get()
        let system = try images.open(kind)
        let found = Set(try images.lines(kind, "found"))
        for name in [
            "lower.txt", "LOWER.TXT", "Lower.txt", "Lower.txt.", "upper.txt", "UPPER.TXT", "upper.txt..", "dot", "dot.",
            "DOT.",
            "nothing", "empty.", "größe.TXT", "GRÖßE.TXT", "äöü.txt", "MANY",
        ] {
            #expect((try system.find(Array(name.utf8), in: system.root) != nil) == found.contains(name), "\(name)")
        }
    }

    @Test(arguments: ISOImages.kinds) func `take as much as Linux says`(kind: ISOImages.Kind) throws {
        let images = try ISOImages.all.get()
        let usage = try images.open(kind).usage()
        let shown = try images.lines(kind, "usage")
        #expect(shown == ["\(usage.blockSize) \(usage.blocks) \(usage.freeBlocks)"])
    }

    @Test(arguments: ISOImages.kinds.filter { $0.name != "udf" })
    func `have the label and UUID that blkid says`(kind: ISOImages.Kind) throws {
        let images = try ISOImages.all.get()
        let info = try images.open(kind).info
        for (name, found) in [("TYPE", info.type), ("LABEL", info.label), ("UUID", info.uuid)] {
            let expected = try Shell.check("blkid -p -s $2 -o value \"$1\" || true", images.path(kind), name)
            #expect(found ?? "" == expected)
        }
    }
}
