import BlockImage
import ByteFormat
import Foundation
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

struct `Extended L2 entries` {
    /// Commands of qemu-io that write, zero and discard pieces down to a subcluster, here and there.
    static func commands(size: Int, subcluster: Int, seed: UInt64, canCompress: Bool) -> [String] {
        var random = SeededRandom(seed: seed)
        let cluster = subcluster * 32
        var commands: [String] = []
        if canCompress {
            for index in 0..<min(6, size / cluster) where Bool.random(using: &random) {
                commands.append("write -c -P \(index + 100) \(index * cluster) \(cluster)")
            }
        }
        for index in 0..<60 {
            let start = Int.random(in: 0..<size / subcluster, using: &random)
            let many = Bool.random(using: &random) ? 3 : 50
            let count = min(Int.random(in: 1...many, using: &random), size / subcluster - start)
            let range = "\(start * subcluster) \(count * subcluster)"
            switch index % 6 {
            case 0: commands.append("write -z \(range)")
            case 1: commands.append("write -z -u \(range)")
            case 2: commands.append("discard \(range)")
            // No multiple of anything.
            case 3: commands.append("write -P \(index + 1) \(start * subcluster + 512) 1024")
            default: commands.append("write -P \(index + 1) \(range)")
            }
        }
        return commands
    }

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io")),
        arguments: [(14, 1 << 20), (16, 3 << 20), (21, 12 << 20)], [false, true])
    func `are read as qemu reads them`(shape: (clusterBits: Int, size: Int), hasBacking: Bool) throws {
        let images = try Images()
        let size = shape.size + 7 * 512
        try Pattern.writeDisk(images.path("base.raw"), size: UInt64(size - 100_000), seed: 5)
        for seed in [UInt64(1), 2] {
            let name = "\(seed).qcow2"
            try images.create(
                name, "extended_l2=on,cluster_size=\(1 << shape.clusterBits)", size: "\(size)",
                backing: hasBacking ? "base.raw" : nil)
            try images.io(
                name,
                Self.commands(
                    size: shape.size, subcluster: 1 << (shape.clusterBits - 5), seed: seed, canCompress: seed == 1))
            try images.agrees(name, seed: seed)
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `are read as qemu reads them where all is allocated beforehand`() throws {
        let images = try Images()
        try images.create("m.qcow2", "extended_l2=on,preallocation=metadata", size: "1M")
        try images.agrees("m.qcow2")
        try images.io("m.qcow2", ["write -P 7 2k 2k", "write -z 100k 20k"])
        try images.agrees("m.qcow2")
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `make one extent of clusters that follow each other`() throws {
        let images = try Images()
        try images.create("run.qcow2", "extended_l2=on", size: "4M")
        try images.io("run.qcow2", ["write -P 1 0 1M", "write -z 1M 1M", "write -P 2 2M 66k"])
        let layer = try images.layer("run.qcow2").layer
        func counts(from start: UInt64) throws -> UInt64 {
            try layer.extent(at: GuestOffset(start), limit: .max).count
        }
        #expect(try counts(from: 0) == 1 << 20)
        #expect(try counts(from: 3000) == (1 << 20) - 3000)
        #expect(try counts(from: 1 << 20) == 1 << 20)
        // A whole cluster and one subcluster of the next; then what is left of that, for which there is room in the file,
        // and of the disk, for which there is none.
        #expect(try counts(from: 2 << 20) == 66 << 10)
        #expect(try counts(from: 2 << 20 | 66 << 10) == 62 << 10)
        #expect(try counts(from: 2 << 20 | 128 << 10) == (4 << 20) - (2 << 20 | 128 << 10))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `are found with one look at each table`() throws {
        let images = try Images()
        try images.create("look.qcow2", "extended_l2=on,cluster_size=2M", size: "40M")
        try images.io("look.qcow2", ["write -P 1 0 1M", "write -P 1 3M 10M"])
        let file = try images.file("look.qcow2")
        let resources = LayerResources()
        let layer = try QCOW2Layer(try QCOW2Description(file), file: file, resources: resources)
        for (index, start) in [UInt64(0), 1 << 20, 3 << 20, 39 << 20].enumerated() {
            _ = try layer.extent(at: GuestOffset(start), limit: .max)
            let looks =
                resources.counters.tableHits.load(ordering: .relaxed)
                + resources.counters.tableMisses.load(ordering: .relaxed)
            #expect(looks == 2 * UInt64(index + 1))
        }
    }

    static let format = L2Format(clusterBits: 16, version: 3, isExtended: true, hasDataFile: false)

    @Test(
        arguments: [
            (0, 0, .unallocated),
            (1 << 63, 0, .unallocated),
            (0, 0xffff_ffff << 32, .zero(preallocated: nil)),
            (0x50000, 0xffff_ffff << 32, .zero(preallocated: HostOffset(0x50000))),
            (0x50000, 0, .subclusters(.none, host: HostOffset(0x50000))),
            (0x50000, 0xffff_ffff, .data(HostOffset(0x50000))),
            // Bit 0 means nothing here.
            (0x50001, 0xffff_ffff, .data(HostOffset(0x50000))),
            (0x50000, 1, .subclusters(SubclusterBitmap(rawValue: 1), host: HostOffset(0x50000))),
            (0, 1 << 32, .subclusters(SubclusterBitmap(rawValue: 1 << 32), host: nil)),
            // The bitmap of a compressed cluster means nothing.
            (1 << 62 | 0x50010, .max, .compressed(HostOffset(0x50010), count: 512 - 16)),
        ] as [(UInt64, UInt64, ClusterMapping)])
    func `say what each bit pattern means`(entry: UInt64, bitmap: UInt64, mapping: ClusterMapping) throws {
        let found = try L2Entry(rawValue: entry).mapping(Self.format, bitmap: SubclusterBitmap(rawValue: bitmap))
        #expect(found == mapping)
    }

    @Test(
        arguments: [
            (0x50000, 1 << 37 | 1 << 5, "says of subcluster 5 both that it is allocated and that it reads as zeros", 8),
            (0, 1 << 63 | 1 << 31, "says of subcluster 31 both that it is allocated and that it reads as zeros", 8),
            (0, 1 << 3, "says that subcluster 3 is allocated, but has no host cluster", 8),
            (0x50200, 1, "points to 0x50200, which is not aligned to the cluster size (65536)", 0),
        ] as [(UInt64, UInt64, String, Int)])
    func `that contradict the format are faults`(entry: UInt64, bitmap: UInt64, message: String, at position: Int) {
        let fault = #expect(throws: ParseFault.self) {
            _ = try L2Entry(rawValue: entry).mapping(Self.format, bitmap: SubclusterBitmap(rawValue: bitmap))
        }
        #expect(fault == ParseFault(at: position, message))
    }

    @Test func `have bitmaps whose runs are those of its bits`() {
        var random = SeededRandom(seed: 9)
        for _ in 0..<300 {
            let states = (0..<32).map { _ in Int.random(in: 0..<8, using: &random) }
                .map { $0 < 5 ? SubclusterBitmap.State.data : $0 < 7 ? .zero : .unallocated }
            var bits: UInt64 = 0
            for (index, state) in states.enumerated() {
                if state == .data { bits |= 1 << UInt64(index) }
                if state == .zero { bits |= 1 << UInt64(index + 32) }
            }
            let bitmap = SubclusterBitmap(rawValue: bits)
            for first in 0..<32 {
                let end = states[first...].firstIndex { $0 != states[first] } ?? 32
                #expect(bitmap.run(from: first) == (states[first], end))
            }
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that are damaged are errors of their own range only`() throws {
        let images = try Images()
        try images.create("bad.qcow2", "extended_l2=on", size: "1M")
        try images.io("bad.qcow2", ["write -P 1 0 1M"])
        var bytes = try images.bytes("bad.qcow2")
        let entry = bytes.l2Offset() + 3 * 16
        bytes.poke(UInt64.max, at: entry + 8)
        let image = try openInMemory(bytes)
        #expect(try image.bytes(3 << 16, at: 0) == Array(repeating: 1, count: 3 << 16))
        #expect(try image.bytes(12 << 16, at: 4 << 16) == Array(repeating: 1, count: 12 << 16))
        let expected = ImageError(
            .corrupt, path: "memory.img", offset: HostOffset(UInt64(entry + 8)),
            "L2 table: the entry here says of subcluster 0 both that it is allocated and that it reads as zeros")
        #expect(imageError { _ = try image.bytes(1, at: 3 << 16) } == expected)
        #expect(imageError { _ = try image.bytes(1, at: 4 << 16 - 1) } == expected)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `of a file that ends inside one are errors`() throws {
        let images = try Images()
        try images.create("cut.qcow2", "extended_l2=on", size: "1M")
        try images.io("cut.qcow2", ["write -z 0 1M"])
        let bytes = try images.bytes("cut.qcow2")
        let entry = bytes.l2Offset() + 5 * 16
        let image = try openInMemory(Array(bytes.prefix(entry + 8)))
        #expect(try image.bytes(5 << 16, at: 0) == Array(repeating: 0, count: 5 << 16))
        let error = imageError { _ = try image.bytes(1, at: 5 << 16) }
        #expect(error?.code == .truncated && error?.offset == HostOffset(UInt64(entry + 8)))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [UInt64(1), 2])
    func `with random bits end in an error at worst`(seed: UInt64) throws {
        let images = try Images()
        try images.create("random.qcow2", "extended_l2=on,cluster_size=16k", size: "256k")
        try images.io("random.qcow2", ["write -c -P 3 0 16k", "write -P 1 16k 3k", "write -z 40k 4k", "write 64k 64k"])
        let good = try images.bytes("random.qcow2")
        let table = good.l2Offset()
        var random = SeededRandom(seed: seed)
        for _ in 0..<150 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let word = table + Int.random(in: 0..<32, using: &random) * 8
                switch Int.random(in: 0..<3, using: &random) {
                case 0:
                    bytes[word + Int.random(in: 0..<8, using: &random)] ^= 1 << Int.random(in: 0..<8, using: &random)
                case 1: bytes.poke(UInt64.random(in: 0...UInt64.max, using: &random), at: word)
                default:
                    bytes.poke([0, UInt64.max, 1 << 63, 1 << 62, 0xffff_ffff].randomElement(using: &random)!, at: word)
                }
            }
            if let image = try? openInMemory(bytes) { exercise(image) }
        }
    }
}
