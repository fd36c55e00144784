import BlockImage
import CrashReplay
import Foundation
import GuestFiles
import GuestKernel
import HostTools
import TestImages
import Testing

@Suite(
    .enabled(
        if: GuestVM.hasJudge
            && Tool.areThere("qemu-img", "xfs_repair", "btrfs", "e2fsck", "fsck.vfat", "fsck.exfat", "mkfs.vfat")))
struct `Files that a kernel in QEMU writes` {
    /// A file system that is written over.
    private struct Written {
        var type: String
        var image: HostImage
        var disk: OverlaidDisk
        /// What looks whether all is well, before the path.
        var check: String
        var isUnix: Bool { !type.hasSuffix("fat") }

        init(_ type: String, _ mkfs: String, size: String, check: String) throws {
            (self.type, self.check) = (type, check)
            image = try HostImage(mkfs, size: size)
            let folder = URL(fileURLWithPath: image.path).deletingLastPathComponent().path
            disk = try OverlaidDisk(image.path, of: folder, overlays: folder + "-overlays")
            try CleanUp.register("rm -rf --one-file-system \"$1\"", folder + "-overlays")
        }

        /// The disk as a raw image, which QEMU makes of the overlay; nothing writes to it any more.
        func result() throws -> HostImage {
            try disk.close()
            let folder = URL(fileURLWithPath: image.path).deletingLastPathComponent().path
            let result = try image.copy()
            try Shell.check(
                "qemu-img convert -U -O raw \"$(find \"$1\" -name '*.overlay.qcow2')\" \"$2\"; rm -r \"$1\"",
                folder + "-overlays", result.path)
            return result
        }
    }

    @Test func `are there afterwards, and the file systems are sound`() throws {
        let source = try HostImage("mkfs.ext4 -q -b 4096", size: "200M")
        try source.mounted("python3 -c \"$1\" $M 3500 60; rm $M/devices/big", GuestTree.populate)
        let tree = try #require(try GuestFileSystems.open(try GuestVM.image(source.path), path: source.path))
        let all = [
            try Written("xfs", "mkfs.xfs -q", size: "320M", check: "xfs_repair -n"),
            try Written("btrfs", "mkfs.btrfs -q", size: "180M", check: "btrfs check"),
            try Written("ext4", "mkfs.ext4 -q -b 4096", size: "120M", check: "e2fsck -fn"),
            try Written("vfat", "mkfs.vfat -F 32", size: "64M", check: "fsck.vfat -n"),
            try Written("exfat", "mkfs.exfat", size: "64M", check: "fsck.exfat -n"),
        ]
        let sums = try all.map { try $0.image.sum() }
        let machine = try GuestMachine.start(
            disks: try all.map { try MachineDisk(writing: $0.disk.image, path: $0.image.path) },
            types: Set(all.map(\.type)), kernel: try GuestVM.kernel.get())
        var shown: [[String]] = []
        for (index, each) in all.enumerated() {
            let system = try machine.mount(disk: index, type: each.type, writable: true)
            if each.isUnix {
                var copy = GuestCopy(from: tree, to: system)
                try copy.copyDirectory(tree.root, to: system.root)
            }
            try changeFiles(of: system)
            try system.synchronize()
            shown.append(try system.guestLines())
        }
        try machine.end()
        #expect(try all.map { try $0.image.sum() } == sums)
        let expected = try source.kernelLines().filter { !$0.contains(hex("lost+found")) }.map(comparable)
        for (shown, each) in zip(shown, all) {
            let result = try each.result()
            try Shell.check("\(each.check) $1", result.path)
            guard each.isUnix else {
                let native = try #require(try GuestFileSystems.open(try GuestVM.image(result.path), path: result.path))
                // The time of a root directory is when it was mounted, and that of a change is not stored.
                let (shown, lines) = (shown.dropFirst(), try native.guestLines().dropFirst())
                #expect(differences(shown.map(comparable), lines.map(comparable)) == [], "\(each.type)")
                #expect(shown.count == 3)
                continue
            }
            let lines = try result.kernelLines()
            #expect(differences(shown, lines) == [], "\(each.type)")
            let copied = lines.filter { !$0.contains(hex("changes")) && !$0.contains(hex("lost+found")) }
            #expect(differences(copied.map(comparable), expected) == [], "\(each.type)")
            #expect(copied.count == expected.count && copied.count > 220)
        }
    }

    private func hex(_ text: String) -> String { text.utf8.map { String($0, radix: 16) }.joined() }

    /// What of a line of `guestLines` a copy has as well: not the space that it takes, nor when it was changed; and of a directory neither its size nor
    /// its number of names.
    private func comparable(_ line: String) -> String {
        var words = line.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count >= 11 else { return line }
        words[5] = "-"
        words[8] = "-"
        if words[1].hasPrefix("4") { (words[4], words[6], words[9]) = ("-", "-", "-") }
        // XFS stores access control lists as these as well.
        let attributes = words.last?.split(separator: ",").filter { !$0.hasPrefix(hex("trusted.SGI_ACL")) } ?? []
        words[words.count - 1] = Substring(attributes.joined(separator: ","))
        // The directory into which `changes` was made.
        if words[0] == "2f" { words[7] = "-" }
        return words.joined(separator: " ")
    }

    /// Makes, changes, renames and removes files in a directory `changes`, and looks at each step.
    private func changeFiles(of system: KernelFileSystem) throws {
        func name(_ text: String) -> [UInt8] { Array(text.utf8) }
        func bytes(_ path: String) throws -> [UInt8] {
            let content = try system.open(try #require(try system.find(path: path)))
            let buffer = AlignedBuffer(capacity: Int(content.size))
            try buffer.fill(Int(content.size)) { output throws(ImageError) in
                try content.read(Int(content.size), at: 0, into: &output)
            }
            return buffer.array
        }
        let folder = try system.make(.directory, called: name("changes"), permissions: 0o755, in: system.root)
        let file = try system.make(.regular, called: name("A file.txt"), permissions: 0o755, in: folder)
        let text = [UInt8]("some text".utf8)
        try system.write(text.span.bytes, at: 0, to: file)
        try system.write(text.span.bytes, at: 5, to: file)
        #expect(try bytes("changes/A file.txt") == Array("some some text".utf8))
        #expect(try system.status(of: file).size == 14)
        try system.setSize(4, of: file)
        #expect(try bytes("changes/A file.txt") == Array("some".utf8))
        try system.setSize(70000, of: file)
        #expect(try system.status(of: file).size == 70000)
        let other = try system.make(.directory, called: name("other"), permissions: 0o755, in: folder)
        let replaced = try system.make(.regular, called: name("replaced"), permissions: 0o755, in: other)
        try system.rename(name("A file.txt"), in: folder, to: name("replaced"), in: other)
        #expect(try system.find(path: "changes/A file.txt") == nil)
        #expect(try system.find(path: "changes/other/replaced") == file && file != replaced)
        #expect(try system.status(of: file).size == 70000)
        #expect(throws: ImageError.self) { try system.remove(name("other"), in: folder) }
        try system.rename(name("other"), in: folder, to: name("moved"), in: system.root)
        #expect(try bytes("moved/replaced").count == 70000)
        try system.write(text.span.bytes, at: 69999, to: file)
        try system.rename(name("moved"), in: system.root, to: name("moved again"), in: folder)
        // In whole days, as FAT has the time of access.
        let times = [1_600_041_600, 1_700_000_000].map { FileTime(seconds: $0, nanoseconds: 0) }
        try system.setTimes(accessed: times[0], modified: nil, of: file)
        try system.setTimes(accessed: nil, modified: times[1], of: file)
        #expect(try system.status(of: file).accessed == times[0])
        #expect(try system.status(of: file).modified.seconds == 1_700_000_000)
        _ = try system.make(.regular, called: name("gone"), permissions: 0o644, in: folder)
        try system.remove(name("gone"), in: folder)
        let empty = try system.make(.directory, called: name("empty"), permissions: 0o700, in: folder)
        try system.remove(name("empty"), in: folder)
        #expect(throws: ImageError.self) { try system.list(empty) { _ in true } }
        #expect(throws: ImageError.self) { try system.remove(name("gone"), in: folder) }
        #expect(throws: ImageError.self) {
            try system.make(.regular, called: name("a/b"), permissions: 0, in: folder)
        }
        guard system.info.type != "vfat", system.info.type != "exfat" else { return }
        try system.setAttribute(GuestAttribute(name: name("user.a"), value: [1, 2]), of: file)
        try system.setAttribute(GuestAttribute(name: name("user.b"), value: []), of: file)
        try system.removeAttribute(name("user.a"), of: file)
        #expect(try system.extendedAttributes(of: file) == [GuestAttribute(name: name("user.b"), value: [])])
        try system.addName(name("second"), to: file, in: folder)
        #expect(try system.find(path: "changes/second") == file)
        try system.remove(name("replaced"), in: try #require(try system.find(path: "changes/moved again")))
        #expect(try system.find(path: "changes/second") == file)
        #expect(try system.status(of: file).linkCount == 1)
    }

    @Test func `are refused on a disk that is read`() throws {
        let image = try HostImage("mkfs.ext4 -q", size: "16M")
        #expect(throws: ImageError.self) { try MachineDisk(writing: try GuestVM.image(image.path), path: image.path) }
        let machine = try GuestVM.reading([image.path], ["ext4"])
        #expect(throws: ImageError.self) { try machine.mount(type: "ext4", writable: true) }
        let system = try machine.mount(type: "ext4")
        #expect(throws: ImageError.self) {
            try system.make(.regular, called: [97], permissions: 0o644, in: system.root)
        }
        try machine.end()
        #expect(throws: ImageError.self) { try system.find(path: "a") }
    }
}
