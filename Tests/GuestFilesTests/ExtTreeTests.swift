import BlockImage
import Foundation
import GuestFiles
import HostTools
import Synchronization
import TestImages
import Testing

/// A way to make a file system.
struct ExtVariant: Sendable, CustomTestStringConvertible {
    var name: String
    var mkfs: String
    var size = "64M"
    /// The most bytes of a value of an attribute.
    var largest = 700
    /// The files of its largest directory.
    var many = 500
    var type = "ext4"

    var testDescription: String { name }

    static let all: [ExtVariant] = [
        .init(name: "ext2 with 1 KiB blocks", mkfs: "mkfs.ext2 -b 1024 -I 128", many: 3000, type: "ext2"),
        .init(
            name: "ext2 without an index",
            mkfs: "mkfs.ext2 -b 2048 -O ^dir_index,^filetype,^sparse_super,^resize_inode", type: "ext2"
        ),
        .init(name: "ext3", mkfs: "mkfs.ext3 -b 4096 -J size=4", largest: 3500, type: "ext3"),
        .init(name: "ext4", mkfs: "mkfs.ext4 -b 4096", largest: 3500, many: 12000),
        .init(name: "ext4 with 1 KiB blocks", mkfs: "mkfs.ext4 -b 1024", many: 12000),
        .init(name: "inline data", mkfs: "mkfs.ext4 -O inline_data -I 256", many: 60),
        .init(name: "inline data in large inodes", mkfs: "mkfs.ext4 -O inline_data -I 1024 -b 2048"),
        .init(name: "without check sums and 64 bits", mkfs: "mkfs.ext4 -O ^metadata_csum,^64bit,uninit_bg"),
        .init(name: "without any check sums", mkfs: "mkfs.ext4 -O ^metadata_csum,^uninit_bg,64bit -b 1024"),
        .init(name: "bigalloc", mkfs: "mkfs.ext4 -O bigalloc -C 16384 -b 1024", size: "128M"),
        .init(name: "meta_bg", mkfs: "mkfs.ext4 -O meta_bg,^resize_inode -b 1024", size: "100M"),
        .init(name: "without extents", mkfs: "mkfs.ext4 -O ^extents,^64bit -b 1024"),
        .init(name: "values in inodes", mkfs: "mkfs.ext4 -O ea_inode", largest: 60000),
        .init(name: "an orphan file", mkfs: "mkfs.ext4 -O orphan_file,large_dir,metadata_csum_seed"),
        .init(
            name: "two copies of the superblock",
            mkfs: "mkfs.ext4 -O sparse_super2,^resize_inode,^has_journal -I 128 -b 1024"),
    ]
}

@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "debugfs", "python3", "sha256sum")))
struct `ext2, ext3 and ext4` {
    @Test(arguments: ExtVariant.all)
    func `have the files that the kernel shows`(variant: ExtVariant) throws {
        let image = try ExtImage(variant.mkfs, size: variant.size)
        try image.mounted(
            "noatime", "python3 -c \"$1\" $M $2 $3", GuestTree.populate, "\(variant.largest)", "\(variant.many)")
        let expected = try image.kernelLines()
        let sum = try Shell.check("sha256sum <$1", image.path)
        let system = try image.opened()
        let found = try system.guestLines()
        #expect(expected.count > 600 || variant.many < 500)
        #expect(differences(found, expected) == [])
        #expect(found.count == expected.count && system.info.type == variant.type && system.notes == [])
        #expect(try Shell.check("sha256sum <$1", image.path) == sum)
        try checkUsage(system, image)
        try checkLookUps(system)
    }

    /// What statfs(2) says.
    private func checkUsage(_ system: any GuestFileSystem, _ image: ExtImage) throws {
        let usage = try system.usage()
        let words = try image.mounted("noatime", "stat -f -c '%S %b %f %a %c %d' $M").split(
            whereSeparator: \.isWhitespace)
        let found = [
            usage.blockSize, usage.blocks, usage.freeBlocks, usage.availableBlocks, usage.files ?? 0,
            usage.freeFiles ?? 0,
        ]
        #expect(found.map { "\($0)" } == words.map { String($0) })
        let identity = try Shell.check("blkid -p -o value -s UUID $1", image.path)
        #expect(system.info.uuid == identity.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Names that are there, and others.
    private func checkLookUps(_ system: any GuestFileSystem) throws {
        for folder in ["many", "names", "few"] {
            let directory = try #require(try system.find(Array(folder.utf8), in: system.root))
            var entries: [GuestEntry] = []
            try system.list(directory) { entry in
                entries.append(entry)
                return true
            }
            for (index, entry) in entries.enumerated() where index < 50 || index % 97 == 0 {
                let isFound = try system.find(entry.name, in: directory) == entry.file
                #expect(isFound)
                let missing = try system.find(entry.name + [1], in: directory)
                #expect(missing == nil)
            }
            var count = 0
            try system.list(directory) { _ in
                count += 1
                return count < 2
            }
            #expect(count == 2)
        }
    }

    @Test func `have holes where the kernel has them`() throws {
        for mkfs in ["mkfs.ext4", "mkfs.ext3 -b 1024", "mkfs.ext4 -O inline_data"] {
            let image = try ExtImage(mkfs, size: "64M")
            let offsets = try image.mounted(
                "noatime",
                """
                printf x | dd of=$M/f bs=1 seek=1000000 conv=notrunc status=none
                dd if=/dev/urandom of=$M/f bs=1k count=300 seek=5000 conv=notrunc status=none
                truncate -s 9999999 $M/f; sync
                python3 -c '
                import os, sys
                f, at, all = os.open(sys.argv[1], os.O_RDONLY), 0, []
                while at < 9999999:
                    try: start = os.lseek(f, at, os.SEEK_DATA)
                    except OSError: break
                    at = os.lseek(f, start, os.SEEK_HOLE)
                    all.append("%d-%d" % (start, at))
                print(*all)' $M/f
                """)
            let system = try image.opened()
            let file = try #require(try system.find(Array("f".utf8), in: system.root))
            let content = try system.open(file)
            var (position, ranges): (UInt64, [String]) = (0, [])
            while position < content.size {
                let run = try content.run(at: position, limit: .max)
                if run.isData { ranges.append("\(position)-\(position + run.count)") }
                position += run.count
            }
            #expect(position == content.size && !ranges.isEmpty)
            #expect(ranges.joined(separator: " ") == offsets.trimmingCharacters(in: .whitespacesAndNewlines))
            #expect(throws: ImageError.self) { try content.run(at: content.size, limit: 1) }
        }
    }

    @Test(arguments: ["mkfs.ext4 -b 1024", "mkfs.ext4", "mkfs.ext3 -b 1024"])
    func `find a name of many by their index`(mkfs: String) throws {
        let image = try ExtImage(mkfs, size: "64M")
        try image.mounted(
            "noatime", "mkdir $M/d; cd $M/d; seq -f 'a file with the number %.0f' 9000 | xargs -d '\\n' touch; cd /")
        let file = MemoryFile(Array(try Data(contentsOf: URL(fileURLWithPath: image.path))))
        let disk = Image(layer: RawLayer(file: file))
        for number in [1, 777, 4500, 9000] {
            let system = try #require(try GuestFileSystems.open(disk, path: image.path))
            let folder = try #require(try system.find(Array("d".utf8), in: system.root))
            let before = file.reads.load(ordering: .relaxed)
            #expect(try system.find(Array("a file with the number \(number)".utf8), in: folder) != nil)
            // The index has two or three levels; the directory has a hundred blocks or more.
            #expect(file.reads.load(ordering: .relaxed) - before <= 8)
        }
    }
}
