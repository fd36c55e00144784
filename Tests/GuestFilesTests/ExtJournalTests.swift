import BlockImage
import Foundation
import GuestFiles
import HostTools
import TestImages
import Testing

/// File systems that are copied while they are mounted and busy, beside others of which the kernel replays the journal.
@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "debugfs", "python3", "sha256sum")))
struct `A journal` {
    /// Changes that are committed in several transactions, some of which free what others wrote; then some that may not be.
    private static let work = """
        import os, random, sys
        os.chdir(sys.argv[1])
        r = random.Random(3)
        def sync():
            fd = os.open('.', os.O_RDONLY); os.fsync(fd); os.close(fd)
        os.mkdir('new')
        for turn in range(6):
            for index in range(120):
                with open('new/%d-%d' % (turn, index), 'wb') as f: f.write(r.randbytes(r.choice([0, 100, 5000, 30000])))
            if turn > 1:
                for index in range(0, 120, 2): os.unlink('new/%d-%d' % (turn - 1, index))
                os.mkdir('dir%d' % turn)
                for index in range(50): os.symlink('x' * 100, 'dir%d/%d' % (turn, index))
            if turn > 3:
                for index in range(50): os.unlink('dir%d/%d' % (turn - 1, index))
                os.rmdir('dir%d' % (turn - 1))
            # Blocks that begin as those of the journal do.
            with open('magic%d' % turn, 'wb') as f:
                for _ in range(10): f.write(bytes([0xc0, 0x3b, 0x39, 0x98]) + r.randbytes(4092))
                f.flush(); os.fsync(f.fileno())
            with open('rewritten', 'wb') as f:
                f.write(bytes([turn]) * 50000)
                f.flush(); os.fsync(f.fileno())
            os.setxattr('magic%d' % turn, 'user.x', r.randbytes(500))
            sync()
        held = open('unlinked', 'wb'); held.write(b'x' * 100000); held.flush(); os.unlink('unlinked'); sync()
        with open('new/last', 'wb') as f: f.write(b'not synced')
        """

    private static let variants: [(mkfs: String, options: String)] = [
        ("mkfs.ext4 -J size=4", "noatime,commit=300"),
        ("mkfs.ext4 -J size=4", "noatime,commit=300,data=journal"),
        ("mkfs.ext4 -b 1024 -J size=4", "noatime,commit=300,data=journal"),
        ("mkfs.ext4 -O ^metadata_csum,64bit -J size=8", "noatime,commit=300,data=journal"),
        ("mkfs.ext4 -O ^metadata_csum,^64bit -J size=8", "noatime,commit=300,journal_checksum"),
        ("mkfs.ext4 -O ^64bit -b 2048 -J size=8", "noatime,commit=300,journal_async_commit,data=writeback"),
        ("mkfs.ext3 -b 1024 -J size=4", "noatime,commit=300"),
        ("mkfs.ext3 -J size=8", "noatime,commit=300,data=journal"),
        ("mkfs.ext4 -O orphan_file,inline_data -J size=8", "noatime,commit=300"),
    ]

    /// A copy of a file system that was busy.
    private func busy(_ mkfs: String, _ options: String) throws -> ExtImage {
        let image = try ExtImage(mkfs, size: "48M")
        let copy = try image.copy()
        // Nothing syncs all: the kernel would write the blocks to their places as well.
        try image.mounted(
            options,
            """
            python3 -c "$1" $M
            cp --sparse=always $2 $3
            """, Self.work, image.path, copy.path)
        return copy
    }

    @Test(arguments: variants.indices)
    func `of a file system in use is replayed as the kernel does`(index: Int) throws {
        let variant = Self.variants[index]
        let image = try busy(variant.mkfs, variant.options)
        let sum = try Shell.check("sha256sum <$1", image.path)
        let system = try image.opened()
        let found = try system.guestLines()
        #expect(try Shell.check("sha256sum <$1", image.path) == sum)
        let notes = system.notes.map { "\($0)" }
        #expect(notes.count == 1 && notes[0].contains("replayed in memory"), "\(notes)")

        let expected = try image.copy().kernelLines()
        #expect(expected.count > 400)
        #expect(differences(found, expected) == [], "\(variant)")
        // Without the journal it is another tree: else the test shows nothing.
        try Shell.check("debugfs -w -R 'feature -needs_recovery' $1 2>/dev/null", image.path)
        let old = try? image.opened().guestLines()
        let isOther = old != found
        #expect(isOther)
    }
}

@Suite(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "debugfs", "python3")))
struct `A journal that cannot be replayed` {
    /// A copy of a file system that has a committed transaction.
    private func dirty(_ mkfs: String, _ script: String = "") throws -> ExtImage {
        let image = try ExtImage(mkfs, size: "80M")
        let copy = try image.copy()
        try image.mounted(
            "noatime,commit=300",
            """
            python3 -c '
            import os, sys
            for turn in range(3):
                os.mkdir(sys.argv[1] + "/d%d" % turn)
                fd = os.open(sys.argv[1], os.O_RDONLY); os.fsync(fd)' $M
            \(script)
            cp --sparse=always $1 $2
            """, image.path, copy.path)
        return copy
    }

    @Test func `ends before a transaction with a wrong check sum, and says so`() throws {
        let image = try dirty("mkfs.ext4 -b 4096 -J size=8")
        #expect(
            try image.opened().notes.map { "\($0)" } == ["the journal has 3 transactions that were replayed in memory"])
        // The last commit block: its kind is 2.
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: image.path)))
        let commits = stride(from: 0, to: bytes.count, by: 4096).filter {
            Array(bytes[$0..<$0 + 8]) == [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2]
        }
        #expect(commits.count >= 3)
        let last = try #require(commits.last)
        // The nanoseconds: an earlier time would be one of an earlier use of the journal.
        bytes[last + 0x3b] ^= 1
        let system = try #require(
            try GuestFileSystems.open(Image(layer: RawLayer(file: MemoryFile(bytes))), path: "damaged"))
        let notes = system.notes.map { "\($0)" }
        #expect(
            notes.count == 2 && notes[0].contains("2 transactions") && notes[1].contains("has a wrong check sum"),
            "\(notes)")
        #expect(try system.find(Array("d1".utf8), in: system.root) != nil)
        #expect(try system.find(Array("d2".utf8), in: system.root) == nil)
    }

    @Test func `is refused where it is on another device`() throws {
        let image = try dirty("mkfs.ext4 -J size=8")
        try Shell.check(
            """
            debugfs -w -R 'set_super_value journal_inum 0' $1 2>/dev/null
            debugfs -w -R 'set_super_value journal_dev 0x801' $1 2>/dev/null
            """, image.path)
        let error = #expect(throws: ImageError.self) { try image.opened() }
        #expect(
            error?.code == .unsupported && error?.message.contains("on another device") == true,
            "\(String(describing: error))")
    }
}
