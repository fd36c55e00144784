import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import GuestFiles

@Suite(.enabled(if: GuestLinux.isThere))
struct `Files on FAT and exFAT` {
    /// A file system, and where its files are by path.
    private struct Opened {
        let system: any GuestFileSystem
        var files: [String: GuestFileID] = [:]

        /// The file system of `kind`.
        init(_ kind: FATImages.Kind) throws {
            let path = try FATImages.all.get().path(kind)
            let image = Image(layer: RawLayer(file: try PatchedFile(path)))
            system = try #require(try GuestFileSystems.open(image, path: path))
            try list(system.root, ".")
        }

        private mutating func list(_ directory: GuestFileID, _ path: String) throws {
            files[path] = directory
            var entries: [GuestEntry] = []
            try system.list(directory) { entry throws(ImageError) in
                entries.append(entry)
                return true
            }
            for entry in entries {
                let name = "\(path)/\(String(decoding: entry.name, as: UTF8.self))"
                #expect(files[name] == nil, "\(name) is there twice")
                files[name] = entry.file
                if entry.isDirectory == true { try list(entry.file, name) }
            }
        }
    }

    @Test(arguments: FATImages.kinds) func `are those that Linux shows`(kind: FATImages.Kind) throws {
        let images = try FATImages.all.get()
        let sum = try Tool.check("sha256sum", images.path(kind))
        let opened = try Opened(kind)
        let shown = try images.shown(kind)
        #expect(Set(opened.files.keys) == Set(shown.keys))
        #expect(Set(opened.files.values).count == shown.count && shown.count > 100)
        for (path, file) in opened.files {
            var expected = try #require(shown[path])
            expected.digest = nil
            var found = ShownFile(try opened.system.status(of: file))
            // The time of exFAT's root directory is when it was mounted.
            if kind.isExFAT, path == "." { found.times = expected.times }
            #expect(found == expected, "\(path)")
        }
        try expectContents(opened, shown, in: images.folder.makeFolder("\(kind.name)-contents"))
        #expect(opened.system.notes == [])
        #expect(try Tool.check("sha256sum", images.path(kind)) == sum)
    }

    /// Reads all files into `folder`, and compares what sha256sum(1) says of them.
    private func expectContents(_ opened: Opened, _ shown: [String: ShownFile], in folder: String) throws {
        let names = shown.filter { !$0.value.isDirectory }.map(\.key).sorted()
        var random = SeededRandom(seed: 5)
        for (index, name) in names.enumerated() {
            let content = try opened.system.open(try #require(opened.files[name]))
            let bytes = try content.bytes(Int(content.size), at: 0)
            try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(index)"))
            guard bytes.count > 0 else { continue }
            let start = Int.random(in: 0..<bytes.count, using: &random)
            let count = Int.random(in: 1...bytes.count - start, using: &random)
            #expect(try content.bytes(count, at: UInt64(start)) == Array(bytes[start..<start + count]), "\(name)")
            #expect(throws: ImageError.self) { try content.bytes(1, at: content.size) }
        }
        let sums = try Shell.check(
            "cd \"$1\"; for i in $(seq 0 $2); do sha256sum $i; done", folder, "\(names.count - 1)")
        for (name, sum) in zip(names, sums.split(separator: "\n")) {
            #expect(String(sum.prefix(64)) == shown[name]?.digest, "\(name)")
        }
    }

    @Test(arguments: FATImages.kinds) func `are found by name, in small letters and capitals`(kind: FATImages.Kind)
        throws
    {
        let opened = try Opened(kind)
        for (path, file) in opened.files where path != "." && !path.hasPrefix("./many") {
            for name in [path, path.uppercased(), path.lowercased(), path + "."] {
                // Letters whose capitals are two letters are not the same as these.
                if name != path, path.contains("ß") { continue }
                var found: GuestFileID? = opened.system.root
                for part in name.split(separator: "/").dropFirst() {
                    found = try opened.system.find(Array(part.utf8), in: try #require(found))
                }
                #expect(found == file, "\(name)")
            }
        }
        #expect(try opened.system.find(Array("nothing".utf8), in: opened.system.root) == nil)
    }

    @Test(arguments: FATImages.kinds) func `take as much as Linux says`(kind: FATImages.Kind) throws {
        let images = try FATImages.all.get()
        let usage = try Opened(kind).system.usage()
        #expect([usage.blockSize, usage.blocks, usage.freeBlocks] == (try images.usage(kind)))
        #expect(usage.availableBlocks == usage.freeBlocks && usage.files == nil)
    }

    @Test(arguments: FATImages.kinds) func `have the label and UUID that blkid says`(kind: FATImages.Kind) throws {
        let info = try Opened(kind).system.info
        let path = try FATImages.all.get().path(kind)
        for (name, found) in [("TYPE", info.type), ("LABEL", info.label), ("UUID", info.uuid)] {
            let expected = try Shell.check("blkid -p -s $2 -o value \"$1\" || true", path, name)
            #expect(found ?? "" == expected)
        }
    }
}

extension GuestFileContent {
    /// The `count` bytes at `offset`.
    func bytes(_ count: Int, at offset: UInt64) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try read(count, at: offset, into: &output) }
        return buffer.array
    }
}
