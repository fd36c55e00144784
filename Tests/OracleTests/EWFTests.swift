import BlockImage
import FormatCore
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

/// Images of ewfacquire, whose digests and disks are known.
@Suite(.enabled(if: Tool.areThere("ewfacquire", "ewfexport")))
struct `An EWF image` {
    private static let variants = ["encase1", "encase5", "encase6", "linen5", "linen6", "ftk", "smart", "ewf"]

    /// An image `disk` of the disk `disk.raw` of `size` bytes in `folder`, made by ewfacquire with `arguments`; answers the
    /// name of its first segment.
    private func acquire(
        _ folder: TemporaryFolder, size: UInt64 = 700 << 10 | 512, _ arguments: String...
    ) throws -> String {
        try Disk.write("disk.raw", in: folder, size: size)
        return try Shell.check(
            """
            cd "$1"; shift
            ewfacquire -u -q -t disk -C case -D description -E evidence -e 'An Examiner' -N notes -d sha1 "$@" disk.raw >log 2>&1
            ls disk.[EeSs]01
            """, arguments: [folder.path] + arguments
        ).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    @Test(arguments: variants, ["none", "fast"])
    func `of every variant is the disk that was acquired, and is found sound`(variant: String, level: String) throws {
        let oracle = try Oracle(try TemporaryFolder())
        let folder = oracle.folder
        let name = try acquire(folder, "-f", variant, "-c", level, "-S", "1GiB")
        let opened = oracle.open(name, as: .ewf)
        let image = try opened.disk.result.get()
        #expect(try image.firstDifference(from: folder.file("disk.raw")) == nil)
        #expect(try image.wrongRead(from: folder.file("disk.raw"), seed: 3) == nil)
        let result = try #require(try (opened.layers.first?.image as? any CheckableImage)?.check { _ in })
        #expect(result.findings.isEmpty && result.totalClusters == 22 && result.allocatedClusters == 22)
        let text = try Shell.check(
            """
            cd "$2"; "$1" inspect "$3" | grep -c '!!' || true
            "$1" info --output json "$3" | jq -c '[.format, ."virtual-size", ."format-specific".data["case-number","examiner"]]'
            "$1" info --output json "$3" | jq -r '."format-specific".data.md5'; md5sum <disk.raw | cut -c 1-32
            """, Tool.rblock, folder.path, name)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.prefix(2) == ["0", "[\"ewf\",\(700 << 10 | 512),\"case\",\"An Examiner\"]"], "\(text)")
        #expect(lines.count == 4 && lines[2] == lines[3], "\(text)")
    }

    @Test func `in more segments than stay open is read whole, and without one not at all`() throws {
        let folder = try TemporaryFolder()
        let text = try Shell.check(
            """
            cd "$2"; head -c 112M /dev/urandom >disk.raw
            ewfacquire -u -q -t disk -C c -D d -E e -e x -N n -f encase6 -c none -S 1MiB disk.raw >log 2>&1
            ls disk.E01 disk.E99 disk.EAA
            (ulimit -n 256; "$1" read disk.E01 | cmp - disk.raw && echo same)
            "$1" check disk.E01
            "$1" read disk.EAA 2>&1 >/dev/null || true
            mkdir mnt; mv disk.E50 away; "$1" read disk.E01 2>&1 >/dev/null || true
            mv disk.E51 disk.E50; "$1" read disk.E01 2>&1 >/dev/null || true
            """, Tool.rblock, folder.path)
        #expect(text.contains("same\nNothing is wrong."), "\(text)")
        #expect(text.contains("no image by itself: use disk.E01") && text.contains("disk.E50"), "\(text)")
        #expect(text.contains("is segment 51, but its name is that of segment 50"), "\(text)")
    }

    @Test func `is mounted and served as its disk, and its later segments are parts of it`() throws {
        let folder = try TemporaryFolder()
        let text = try Shell.check(
            """
            cd "$2"; mkdir images; head -c 3M /dev/urandom >disk.raw
            ewfacquire -u -q -t images/disk -C c -D d -E e -e x -N n -f encase6 -c none -S 1MiB disk.raw >log 2>&1
            rm -f images/*.txt; ls images
            "$1" serve --nbd unix:nbd images 2>log & server=$!
            for i in {1..300}; do test -S nbd && break; sleep 0.1; done
            nbdcopy 'nbd+unix:///disk.E01?socket=nbd' copy.raw; cmp copy.raw disk.raw && echo served
            kill $server; wait $server || true
            """, Tool.rblock, folder.path)
        #expect(text.contains("disk.E04") && text.contains("served"), "\(text)")
        let mount = try Mount(folder.file("images"))
        let names = try Shell.check(
            "cd \"$1\"; ls; cmp disk.E01/disk.raw \"$2\"", mount.path, folder.file("disk.raw"))
        #expect(names.split(separator: "\n") == ["disk.E01", "stats.json"], "\(names)")
        try mount.unmount()
    }

    @Test func `whose bytes were changed gives the same disk, or an error`() throws {
        let folder = try TemporaryFolder()
        let name = try acquire(folder, size: 100 << 10, "-f", "encase6", "-c", "fast", "-S", "1GiB")
        let good = Array(try Data(contentsOf: URL(fileURLWithPath: folder.file(name))))
        let disk = Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.raw"))))
        var random = SeededRandom(seed: 11)
        var (errors, findings) = (0, 0)
        for round in 0..<400 {
            var bytes = good
            for _ in 0..<(round % 3 + 1) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                bytes[place] ^= UInt8.random(in: 1...255, using: &random)
            }
            if round % 10 == 0 { bytes = Array(bytes.prefix(Int.random(in: 0..<bytes.count, using: &random))) }
            let opened = ImageOpener(policy: Nothing(), resources: LayerResources(cacheSize: 1 << 20))
                .open(MemoryFile(bytes, path: "disk.E01"), as: .ewf, counters: ReadCounters())
            do {
                let image = try opened.disk.result.get()
                #expect(areSame(try image.wholeDisk(), disk), "round \(round)")
            } catch {
                errors += 1
            }
            let result = try? (opened.layers.first?.image as? any CheckableImage)?.check { _ in }
            findings += Int(result?.findingCount ?? 0)
        }
        #expect(errors > 100 && findings > 50)
    }

    @Test func `whose digest is another one than that of its disk is said to be so by a check`() throws {
        let folder = try TemporaryFolder()
        let name = try acquire(folder, size: 64 << 10, "-f", "encase5", "-c", "fast", "-S", "1GiB")
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: folder.file(name))))
        // The digest, and the check sum of its section.
        let mark = Array("hash".utf8) + [UInt8](repeating: 0, count: 12)
        let section = try #require((0..<bytes.count - 112).first { Array(bytes[$0..<$0 + 16]) == mark })
        bytes[section + 76] ^= 1
        var (low, high) = (UInt32(1), UInt32(0))
        for byte in bytes[section + 76..<section + 108] {
            low = (low + UInt32(byte)) % 65521
            high = (high + low) % 65521
        }
        for index in 0..<4 {
            bytes[section + 108 + index] = UInt8(truncatingIfNeeded: (high << 16 | low) >> UInt32(index * 8))
        }
        try folder.write(bytes, to: "other.E01")
        let result = try RBlock.run(["check", "--output", "json", "other.E01"], in: folder.path)
        #expect(result.status == 2 && result.text.contains("MD5: is stored as"), "\(result.text)")
        #expect(try RBlock.run(["read", "other.E01"], in: folder.path).status == 0)
    }
}

/// Opens nothing.
private struct Nothing: OpenPolicy {
    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(.denied, path: file.path, "\(reference.text) is not opened")
    }
}
