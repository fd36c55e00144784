import BlockImage
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

struct `An internal snapshot` {
    /// An image with four snapshots, between which it is written to, grows and shrinks.
    private func make(_ options: String, backing: Bool) throws -> Images {
        let images = try Images()
        try Pattern.writeDisk(images.path("base.raw"), size: 2_500_000, seed: 4)
        try images.create("s.qcow2", options, size: "1M", backing: backing ? "base.raw" : nil)
        func snapshot(_ name: String) throws {
            try Tool.check("qemu-img", "snapshot", "-c", name, images.path("s.qcow2"))
        }
        func resize(_ size: String) throws {
            try Tool.check("qemu-img", "resize", "-q", "--shrink", images.path("s.qcow2"), size)
        }
        try snapshot("empty")
        try images.io("s.qcow2", ["write -P 1 0 300k", "write -c -P 2 512k 64k", "write -z 700k 100k"])
        try snapshot("first")
        try images.io("s.qcow2", ["write -P 3 100k 300k", "discard 512k 128k", "write -b -P 9 0 100k"])
        try snapshot("with state")
        // What version 2 cannot do with snapshots.
        if !options.contains("0.10") { try resize("3M") }
        if options.contains("0.10") {
            try images.io("s.qcow2", ["write -P 4 128k 700k"])
        } else {
            try images.io("s.qcow2", ["write -P 4 128k 2M", "write -P 5 2900k 30k"])
        }
        try snapshot("large")
        if !options.contains("0.10") { try resize("2M") }
        try images.io("s.qcow2", ["write -P 6 0 1M"])
        return images
    }

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io")),
        arguments: ["", "extended_l2=on,cluster_size=16k", "compat=0.10,cluster_size=4k", "cluster_size=512"],
        [false, true])
    func `is the disk that qemu finds in it`(options: String, hasBacking: Bool) throws {
        let images = try make(options, backing: hasBacking)
        let (layer, description, backing) = try images.layer("s.qcow2")
        #expect(description.snapshots.map(\.name) == ["empty", "first", "with state", "large"])
        for (snapshot, size) in zip(description.snapshots, [UInt64(1), 1, 1, options.contains("0.10") ? 1 : 3]) {
            let image = Image(layer: try layer.layer(of: snapshot), backing: backing)
            #expect(image.virtualSize == size << 20)
            // qemu-img convert -l gives every snapshot the size that the disk has now ...
            let raw = try Data(contentsOf: URL(fileURLWithPath: images.converted("s.qcow2", ["-l", snapshot.name])))
            let common = min(raw.count, Int(image.virtualSize))
            #expect(areSame(try image.bytes(common, at: 0), raw.prefix(common)), "\(snapshot.name)")
            // ... and going back to it gives it its own.
            try? FileManager.default.removeItem(atPath: images.path("back.qcow2"))
            try FileManager.default.copyItem(atPath: images.path("s.qcow2"), toPath: images.path("back.qcow2"))
            try Tool.check("qemu-img", "snapshot", "-a", snapshot.name, images.path("back.qcow2"))
            let back = try images.converted("back.qcow2")
            #expect(try image.firstDifference(from: back) == nil, "\(snapshot.name)")
            #expect(try image.wrongRead(from: back, seed: 7) == nil, "\(snapshot.name)")
        }
        try images.agrees("s.qcow2")
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: ["", "extended_l2=on", "cluster_size=512"])
    func `keeps the state of a machine behind its disk`(options: String) throws {
        let images = try make(options, backing: true)
        var bytes = try images.bytes("s.qcow2")
        let listed = try QCOW2Description(try images.file("s.qcow2")).snapshots
        // qemu-img keeps the bytes, but says that there are none: only a machine says how many.
        for snapshot in listed { #expect(try images.layer("s.qcow2").layer.vmState(of: snapshot) == nil) }
        let snapshot = try #require(listed.first { $0.name == "with state" })
        bytes.poke(UInt64(100_000), at: Int(snapshot.entryOffset.rawValue) + 40)
        try images.folder.write(bytes, to: "s.qcow2")

        let (layer, description, _) = try images.layer("s.qcow2")
        let state = try #require(try layer.vmState(of: description.snapshots[2]))
        #expect(state.virtualSize == 100_000)
        #expect(try Image(layer: state).wholeDisk() == Array(repeating: 9, count: 100_000))
        #expect(try Image(layer: state).bytes(5, at: 99_995) == [9, 9, 9, 9, 9])
        try Tool.check("qemu-img", "snapshot", "-a", "with state", images.path("s.qcow2"))
        try images.io("s.qcow2", ["read -b -P 9 0 99840"])
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that is damaged spoils neither the image nor the others`() throws {
        let images = try make("", backing: false)
        let good = try images.bytes("s.qcow2")
        let entry = Int(try QCOW2Description(MemoryFile(good)).snapshots[2].entryOffset.rawValue)
        func error(_ poke: (inout [UInt8]) -> Void, ofState: Bool = false) throws -> ImageError? {
            var bytes = good
            poke(&bytes)
            let file = MemoryFile(bytes)
            let description = try QCOW2Description(file)
            let layer = try QCOW2Layer(description, file: file, resources: LayerResources())
            #expect(try Image(layer: layer).bytes(3, at: 0) == [6, 6, 6])
            for index in [1, 3] {
                let other = Image(layer: try layer.layer(of: description.snapshots[index]))
                #expect(try other.bytes(3, at: 0) == [1, 1, 1])
            }
            return imageError {
                let snapshot = description.snapshots[2]
                if ofState {
                    _ = try layer.vmState(of: snapshot)
                } else {
                    _ = try Image(layer: try layer.layer(of: snapshot)).wholeDisk()
                }
            }
        }
        func corrupt(_ message: String, at position: Int) -> ImageError {
            ImageError(
                .corrupt, path: "memory.img", offset: HostOffset(UInt64(entry + position)), "snapshot \"3\": \(message)"
            )
        }
        #expect(
            try error { $0.poke(UInt64(0x10200), at: entry) }
                == corrupt(
                    "l1_table_offset is 0x10200, but must be a multiple of the cluster size (65536) below 2^56", at: 0))
        #expect(
            try error { $0.poke(UInt32(1 << 22 + 1), at: entry + 8) }
                == corrupt("l1_size is \(UInt32(1 << 22 + 1)), but at most 4194304 is allowed", at: 8))
        #expect(
            try error { $0.poke(UInt64.max, at: entry + 48) }
                == corrupt("disk_size is \(UInt64.max) bytes, more than any file has", at: 48))
        #expect(
            try error({ $0.poke(UInt64(5 << 29), at: entry + 40) }, ofState: true)
                == corrupt("l1_size is 2, but a disk and 2684354560 bytes of machine state need 6", at: 8))
        #expect(try error({ $0.poke(UInt64.max, at: entry + 40) }, ofState: true)?.code == .corrupt)
        let beyond = try error { $0.poke(UInt64(1 << 40), at: entry) }
        #expect(beyond?.code == .truncated && beyond?.offset == HostOffset(1 << 40))
        #expect(
            beyond?.message.hasPrefix("the L1 table of snapshot \"3\" lies past the end of the file") == true)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `with a shorter L1 table than its disk needs has nothing behind it`() throws {
        let images = try Images()
        try images.create("s.qcow2", "cluster_size=512", size: "100k")
        try images.io("s.qcow2", ["write -P 1 0 100k"])
        try Tool.check("qemu-img", "snapshot", "-c", "a", images.path("s.qcow2"))
        var bytes = try images.bytes("s.qcow2")
        let entry = Int(bytes.integer(at: 64, as: UInt64.self))
        bytes.poke(UInt32(1), at: entry + 8)
        try images.folder.write(bytes, to: "s.qcow2")
        let (layer, description, _) = try images.layer("s.qcow2")
        let image = Image(layer: try layer.layer(of: description.snapshots[0]))
        let expected = Array(repeating: UInt8(1), count: 32 << 10) + Array(repeating: 0, count: 68 << 10)
        #expect(try image.wholeDisk() == expected)
        #expect(try image.firstDifference(from: images.converted("s.qcow2", ["-l", "a"])) == nil)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `has the size of the disk where it gives none, and sizes of whole sectors`() throws {
        let images = try Images()
        try images.create("s.qcow2", "", size: "1M")
        try Tool.check("qemu-img", "snapshot", "-c", "a", images.path("s.qcow2"))
        var bytes = try images.bytes("s.qcow2")
        let entry = Int(bytes.integer(at: 64, as: UInt64.self))
        bytes.poke(UInt64(1000), at: entry + 48)
        func size(_ bytes: [UInt8]) throws -> UInt64 {
            let file = MemoryFile(bytes)
            let description = try QCOW2Description(file)
            let layer = try QCOW2Layer(description, file: file, resources: LayerResources())
            return try layer.layer(of: description.snapshots[0]).virtualSize
        }
        #expect(try size(bytes) == 512)
        // Eight bytes of extra data: the size of the machine state only. The rest reads as id, name and padding.
        bytes.poke(UInt32(8), at: entry + 36)
        #expect(try size(bytes) == 1 << 20)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `has more extra data than is known, or none`() throws {
        let images = try Images()
        try images.create("s.qcow2", "", size: "1M")
        try images.io("s.qcow2", ["write -P 1 0 64k"])
        try Tool.check("qemu-img", "snapshot", "-c", "name", images.path("s.qcow2"))
        let good = try images.bytes("s.qcow2")
        let entry = Int(good.integer(at: 64, as: UInt64.self))
        for size in [0, 8, 16, 24, 32, 100, 1024] {
            var bytes = good
            let extra = good[(entry + 40)..<(entry + 64)] + Array(repeating: 0xaa, count: 1000)
            let new =
                good[entry..<entry + 40] + extra.prefix(size) + Array("1name".utf8) + Array(repeating: 0, count: 8)
            bytes.replaceSubrange(entry..<min(entry + new.count, bytes.count), with: new)
            bytes.poke(UInt32(size), at: entry + 36)
            let file = MemoryFile(bytes)
            let description = try QCOW2Description(file)
            let snapshot = description.snapshots[0]
            #expect(snapshot.name == "name" && snapshot.id == "1")
            #expect(snapshot.diskSize == (size < 16 ? nil : 1 << 20))
            #expect(snapshot.instructionCount == (size < 24 ? nil : 0))
            let layer = try QCOW2Layer(description, file: file, resources: LayerResources())
            #expect(try Image(layer: layer.layer(of: snapshot)).bytes(2, at: 0xffff) == [1, 0])
            try images.folder.write(bytes, to: "extra.qcow2")
            #expect(try images.differencesOfInfo("extra.qcow2", images.open("extra.qcow2")) == [], "\(size)")
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [UInt64(1), 2])
    func `with random bytes in its entry ends in an error at worst`(seed: UInt64) throws {
        let images = try Images()
        try images.create("s.qcow2", "cluster_size=4k", size: "128k")
        try images.io("s.qcow2", ["write -P 1 0 64k", "write -b -P 9 0 10k"])
        try Tool.check("qemu-img", "snapshot", "-c", "name", images.path("s.qcow2"))
        let good = try images.bytes("s.qcow2")
        let entry = Int(good.integer(at: 64, as: UInt64.self))
        var random = SeededRandom(seed: seed)
        for _ in 0..<150 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let offset = entry + [0, 8, 12, 32, 36, 40, 48, 56].randomElement(using: &random)!
                if Bool.random(using: &random) {
                    bytes[offset + Int.random(in: 0..<8, using: &random)] = UInt8.random(in: 0...255, using: &random)
                } else {
                    let extremes: [UInt64] = [0, 1, 511, 1 << 31, 1 << 56, 1 << 62, 1 << 63, .max - 511, .max]
                    bytes.poke(extremes.randomElement(using: &random)!, at: offset)
                }
            }
            let file = MemoryFile(bytes)
            guard let description = try? QCOW2Description(file), let snapshot = description.snapshots.first,
                let layer = try? QCOW2Layer(description, file: file, resources: LayerResources(cacheSize: 1 << 20))
            else { continue }
            if let disk = try? layer.layer(of: snapshot) { exercise(Image(layer: disk)) }
            if let state = try? layer.vmState(of: snapshot) { exercise(Image(layer: state)) }
        }
    }
}
