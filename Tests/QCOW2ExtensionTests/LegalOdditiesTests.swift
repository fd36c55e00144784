import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@testable import QCOW2

struct `Odd but legal images are read` {
    /// An image with data, zeros and compressed clusters over a patterned disk.
    private func make(_ options: String = "", backing: Bool = false) throws -> Images {
        let images = try Images()
        try Pattern.writeDisk(images.path("base.raw"), size: 700_000, seed: 2)
        try images.create("o.qcow2", options, size: "1M", backing: backing ? "base.raw" : nil)
        try images.io(
            "o.qcow2", ["write -c -P 1 0 64k", "write -c -P 2 64k 64k", "write -P 3 300k 70k", "write -z 500k 9k"])
        return images
    }

    /// Changes the image, and compares what is read of it with what qemu reads.
    private func agrees(
        _ images: Images, sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout [UInt8]) throws -> Void
    ) throws {
        var bytes = try images.bytes("o.qcow2")
        try change(&bytes)
        try images.folder.write(bytes, to: "changed.qcow2")
        try images.agrees("changed.qcow2", sourceLocation: sourceLocation)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [UInt64(1), 2, 3])
    func `with the dirty and the corrupt bit`(bits: UInt64) throws {
        try agrees(try make()) { $0.poke(bits, at: 72) }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `with compatible and autoclear bits that are unknown`() throws {
        try agrees(try make()) {
            $0.poke(UInt64.max, at: 80)
            $0.poke(UInt64.max ^ 3, at: 88)
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `with a bit for bitmaps, and none of them`() throws {
        try agrees(try make()) { $0.poke(UInt64(1), at: 88) }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `without an end of the header extensions`() throws {
        let images = try make(backing: true)
        try agrees(images) { bytes in
            let end = Int(bytes.integer(at: 8, as: UInt64.self)) - 8
            try #require(bytes.integer(at: end, as: UInt64.self) == 0)
            bytes.poke(UInt32(0x1234_5678), at: end)
        }
        let description = try images.layer("changed.qcow2").description
        #expect(description.extensions.unknown == [HeaderExtensions.Unknown(type: 0x1234_5678, length: 0)])
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `with header extensions that are unknown`() throws {
        let images = try make(backing: true)
        try agrees(images) { bytes in
            let place = try #require(bytes.firstRange(of: [0x68, 0x03, 0xf8, 0x57])).lowerBound
            bytes.poke(UInt32(0xfeed_beef), at: place)
        }
        let description = try images.layer("changed.qcow2").description
        #expect(description.extensions.unknown == [HeaderExtensions.Unknown(type: 0xfeed_beef, length: 0x180)])
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [8, 24, 1000])
    func `with a header that is longer than it is known`(more: Int) throws {
        let images = try make(backing: true)
        try agrees(images) { bytes in
            let rest = bytes[112..<65536 - more]
            bytes.replaceSubrange(112..<65536, with: Array(repeating: 0xab, count: more) + rest)
            bytes.poke(UInt32(112 + more), at: 100)
            bytes.poke(bytes.integer(at: 8, as: UInt64.self) + UInt64(more), at: 8)
        }
        #expect(try images.layer("changed.qcow2").description.backingFile == Array("base.raw".utf8))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `with a header that ends before the compression type`() throws {
        try agrees(try make()) { bytes in
            bytes.poke(UInt32(104), at: 100)
            bytes.poke(UInt64(0), at: 104)
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [1, 2, 4, 8, 16, 32, 64])
    func `with refcounts of every width`(bits: Int) throws {
        try agrees(try make("refcount_bits=\(bits)")) { _ in }
    }

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: ["zlib", "zstd"],
        [UInt64(512), 4096, 65536, 2 << 20])
    func `with compressed clusters that share sectors, straddle clusters and end with the file`(
        type: String, clusterSize: UInt64
    ) throws {
        let images = try Images()
        let size = max(20 * clusterSize, 600_000) / 512 * 512
        try Pattern.writeDisk(images.path("base.raw"), size: size, seed: 6)
        let result = try Tool.run(
            "qemu-img",
            [
                "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                "compression_type=\(type),cluster_size=\(clusterSize)",
                "base.raw", "o.qcow2",
            ], in: images.folder.path)
        try #require(result.status == 0, "\(result.errors)")
        var bytes = try images.bytes("o.qcow2")
        let clusterBits = clusterSize.trailingZeroBitCount
        // What there is to be read: a stream that begins in a sector of another, and one across a host cluster's end.
        let tables = (0..<Int(bytes.integer(at: 36, as: UInt32.self))).map { bytes.l2Offset($0) }.filter { $0 != 0 }
        let places = tables.flatMap { stride(from: $0, to: $0 + Int(clusterSize), by: 8) }.compactMap { place in
            let entry = bytes.integer(at: place, as: UInt64.self)
            guard entry >> 62 == 1 else { return nil as (UInt64, UInt64)? }
            let split = UInt64(62 - (clusterBits - 8))
            let offset = entry & (1 << split - 1)
            let sectors = (entry & (1 << 62 - 1)) >> split
            return (offset, (offset / 512 + sectors) * 512 + 511)
        }
        #expect(places.contains { $0.0 % 512 != 0 })
        #expect(clusterSize > 1 << 20 || places.contains { $0.0 / clusterSize != $0.1 / clusterSize })
        // The file ends soon behind the last byte that is not zero, in the last stream's last sector: qemu writes that
        // behind everything else, and a stream may end with a few zeros.
        let last = try #require(bytes.lastIndex { $0 != 0 })
        bytes.removeLast(max(0, bytes.count - last - 4))
        try images.folder.write(bytes, to: "o.qcow2")
        try images.agrees("o.qcow2")
        #expect(try images.open("o.qcow2").disk.result.get().firstDifference(from: images.path("base.raw")) == nil)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "python3")))
    func `with a deflate window of 32 KiB`() throws {
        let images = try Images()
        let script = """
            import random, zlib
            part = random.Random(1).randbytes(30000)
            data = (part * 3)[:65536]
            codec = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
            stream = codec.compress(data) + codec.flush()
            assert len(stream) < 36000
            open('stream', 'wb').write(stream)
            open('data', 'wb').write(data)
            """
        try Tool.check("python3", "-c", script, in: images.folder.path)
        try images.create("o.qcow2", "", size: "1M")
        try images.io("o.qcow2", ["write -P 1 64k 64k"])
        let stream = try images.bytes("stream")
        try agrees(images) { bytes in
            bytes += Array(repeating: 0, count: -bytes.count & 511)
            let sectors = UInt64(stream.count - 1) / 512
            bytes.poke(1 << 62 | sectors << 54 | UInt64(bytes.count), at: bytes.l2Offset())
            bytes += stream
        }
        #expect(try images.open("changed.qcow2").disk.result.get().bytes(65536, at: 0) == images.bytes("data"))
    }
}
