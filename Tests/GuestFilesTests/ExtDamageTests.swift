import BlockImage
import Foundation
import GuestFiles
import HostTools
import TestImages
import Testing

/// File systems that are damaged, or have what is not read, on purpose: made and changed by e2fsprogs.
@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "debugfs", "tune2fs", "python3")))
struct `A damaged ext4` {
    /// One with a few files, of which `name` is a regular one.
    private func image(_ mkfs: String = "mkfs.ext4", _ script: String = "") throws -> ExtImage {
        let image = try ExtImage(mkfs, size: "16M")
        try image.mounted(
            "noatime",
            """
            mkdir $M/d; for i in $(seq 400); do : >"$M/d/a file with the number $i"; done
            head -c 50000 /dev/urandom >$M/f; ln -s target $M/link; ln -s $(printf '%0100d' 5) $M/long
            setfattr -n user.x -v $(printf '%0300d' 5) $M/f; \(script)
            """)
        return image
    }

    private func debugfs(_ image: ExtImage, _ command: String) throws {
        let text = try Shell.check("debugfs -w -R \"$1\" $2 2>&1", command, image.path)
        // It prints its version, and what it did not do: its status is always 0.
        let lines = text.split(separator: "\n").dropFirst()
        guard lines.allSatisfy({ $0.hasPrefix("Filesystem features:") }) else { throw ToolFailure(description: text) }
    }

    private func file(_ name: String, _ system: any GuestFileSystem) throws -> GuestFileID {
        try #require(try system.find(Array(name.utf8), in: system.root))
    }

    /// What `body` throws.
    private func error(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "nothing"
        } catch {
            return (error as? ImageError).map { "\($0.code.name): \($0)" } ?? "\(error)"
        }
    }

    private func whole(_ content: any GuestFileContent) throws -> [UInt8] {
        let count = Int(content.size)
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in try content.read(count, at: 0, into: &output) }
        return buffer.array
    }

    /// Changes the byte at `place`.
    private func flip(_ image: ExtImage, at place: Int) throws {
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: image.path))
        try file.seek(toOffset: UInt64(place))
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: UInt64(place))
        try file.write(contentsOf: [byte ^ 0x10])
        try file.close()
    }

    /// The number that a command of debugfs prints last.
    private func number(_ image: ExtImage, _ command: String) throws -> Int {
        let text = try Shell.check("debugfs -R \"$1\" $2 2>/dev/null", command, image.path)
        return try #require(text.split { !$0.isNumber }.last.flatMap { Int($0) })
    }

    @Test func `says which structure has a wrong check sum`() throws {
        let sound = try image("mkfs.ext4 -b 1024 -O ^64bit,metadata_csum")
        var image = try sound.copy()
        try flip(image, at: 1024 + 0x78)
        #expect(
            error { _ = try image.opened() }.hasPrefix(
                "corrupt: \(image.path): superblock, at 0x7fc of the file system: the check sum"))

        image = try sound.copy()
        try flip(image, at: 2048 + 12)
        #expect(error { _ = try image.opened() }.contains("group 0, at 0x800 of the file system: the check sum is"))

        image = try sound.copy()
        let block = try number(image, "bmap d 1")
        try flip(image, at: block * 1024 + 9)
        let system = try image.opened()
        let folder = try file("d", system)
        #expect(
            error { try system.list(folder) { _ in true } }.contains(
                "directory block, at 0x\(String(block * 1024, radix: 16)) "))
    }

    @Test func `with a damaged index has all its files`() throws {
        let image = try image("mkfs.ext4 -b 1024")
        let root = try number(image, "bmap d 0")
        let name = Array("a file with the number 77".utf8)
        let sound = try image.opened()
        let expected = try #require(try sound.find(name, in: try file("d", sound)))
        for offset in [0x1c, 0x1e, 0x22, 0x24, 0x28, 0x30] {
            let image = try image.copy()
            try flip(image, at: root * 1024 + offset)
            let system = try image.opened()
            let found = try system.find(name, in: try file("d", system))
            #expect(found == expected)
        }
    }

    @Test func `names the features that are not known`() throws {
        for (bit, name) in [(0x1, "compression"), (0x1000, "dirdata"), (0x8000_0000, "FEATURE_I31")] {
            let image = try ExtImage("mkfs.ext4 -O ^metadata_csum", size: "16M")
            let stored = try Shell.check("debugfs -R 'show_super_stats -h' $1 2>/dev/null | head -c 10", image.path)
            #expect(!stored.isEmpty)
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: image.path))
            try file.seek(toOffset: 1024 + 0x60)
            let bytes = Array(try #require(try file.read(upToCount: 4)))
            let word = bytes.reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) } | UInt32(bit)
            try file.seek(toOffset: 1024 + 0x60)
            try file.write(contentsOf: (0..<4).map { UInt8(truncatingIfNeeded: word >> UInt32($0 * 8)) })
            try file.close()
            #expect(
                error { _ = try image.opened() }.contains(
                    "unsupported: \(image.path): the file system has the feature \(name), "))
        }
    }

    @Test func `whose files are encrypted shows what is not`() throws {
        let image = try image("mkfs.ext4 -O encrypt")
        for name in ["d", "f", "link"] {
            let stored = try Shell.check(
                "debugfs -R 'stat \(name)' $1 2>/dev/null | grep -o 'Flags: 0x[0-9a-f]*'", image.path)
            let flags = try #require(
                stored.split(whereSeparator: \.isWhitespace).last.flatMap { UInt32($0.dropFirst(2), radix: 16) })
            try debugfs(image, "set_inode_field \(name) flags 0x\(String(flags | 0x800, radix: 16))")
        }
        let system = try image.opened()
        let folder = try file("d", system)
        #expect(error { try system.list(folder) { _ in true } }.contains("unsupported: "))
        #expect(error { _ = try system.find([97], in: folder) }.contains("the names in this directory are encrypted"))
        #expect(error { _ = try system.open(try file("f", system)) }.contains("unsupported: "))
        #expect(error { _ = try system.target(ofLink: try file("link", system)) }.contains("is encrypted"))
        #expect(try system.target(ofLink: try file("long", system)).count == 100)
    }

    @Test func `in which a directory has no difference of letters finds either`() throws {
        let image = try image("mkfs.ext4 -O ^metadata_csum")
        // The kernel may not know such directories: both flags are set later.
        try debugfs(image, "feature casefold")
        try debugfs(image, "set_inode_field d flags 0x40080000")
        let system = try image.opened()
        let folder = try file("d", system)
        let exact = try system.find(Array("a file with the number 5".utf8), in: folder)
        #expect(try exact != nil && system.find(Array("A FILE with the Number 5".utf8), in: folder) == exact)
        #expect(try system.find(Array("a file with the number X".utf8), in: folder) == nil)
    }

    /// No kernel with smaller pages mounts it: e2fsprogs fill it.
    @Test func `may have blocks of 64 KiB`() throws {
        let folder = try TemporaryFolder()
        let image = try ExtImage("true", size: "200M")
        try Shell.check(
            """
            mkdir $1/d; for i in $(seq 600); do echo $i >"$1/d/a file with a longer name, the number $i"; done
            head -c 1000000 /dev/urandom >$1/f
            mkfs.ext4 -q -F -b 65536 -d $1 $2 >/dev/null 2>&1
            """, folder.path, image.path)
        let system = try image.opened()
        #expect(try system.usage().blockSize == 65536)
        let directory = try file("d", system)
        var entries: [GuestEntry] = []
        try system.list(directory) { entry in
            entries.append(entry)
            return true
        }
        #expect(entries.count == 600)
        for entry in entries where entry.file.number % 10 == 0 {
            let number = entry.name.split(separator: UInt8(ascii: " ")).last.map { Array($0) + [10] }
            let isRight = try whole(try system.open(entry.file)) == number
            let isFound = try system.find(entry.name, in: directory) == entry.file
            #expect(isRight && isFound)
        }
        let expected = Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("f"))))
        #expect(areSame(try whole(try system.open(try file("f", system))), expected))
    }

    @Test func `says that it was not unmounted, or has errors`() throws {
        let image = try image("mkfs.ext2")
        #expect(try image.opened().notes == [])
        for (state, words) in [(0, "has no journal and was not unmounted"), (3, "errors were found")] {
            try debugfs(image, "set_super_value state \(state)")
            let notes = try image.opened().notes.map { "\($0)" }
            #expect(notes.count == 1 && notes[0].contains(words), "\(notes)")
        }
    }

    @Test(arguments: [
        "mkfs.ext4", "mkfs.ext3 -b 1024", "mkfs.ext4 -b 1024 -O meta_bg,^resize_inode", "mkfs.ext2 -b 1024",
    ])
    func `whose superblock does not say what no file can have counts it`(mkfs: String) throws {
        let image = try image(mkfs)
        try debugfs(image, "set_super_value overhead_clusters 0")
        // Mounted for reading: else the kernel stores it.
        let words = try image.mounted("ro", "stat -f -c '%b %f %a' $M").split(whereSeparator: \.isWhitespace)
        let usage = try image.opened().usage()
        let found = [usage.blocks, usage.freeBlocks, usage.availableBlocks]
        #expect(found.map { "\($0)" } == words.map { String($0) })
    }

    @Test func `is none where there is no magic`() throws {
        for bytes in [[], [UInt8](repeating: 0, count: 1000), [UInt8](repeating: 0, count: 100_000)] {
            let disk = Image(layer: RawLayer(file: MemoryFile(bytes)))
            #expect(try GuestFileSystems.open(disk, path: "zeros") == nil)
        }
    }
}
