import BlockImage
import Foundation
import HostTools
import QCOW2
import TestImages

/// A disk, and the bytes that it must be read as.
struct Disk {
    var image: Image
    var bytes: [UInt8]

    /// A raw file of `bytes`, which says of `holes` that they are none.
    static func raw(
        _ bytes: [UInt8], holes: [Range<UInt64>] = [], identity: FileIdentity? = nil
    ) -> Disk {
        Disk(image: Image(layer: RawLayer(file: MemoryFile(bytes, identity: identity, holes: holes))), bytes: bytes)
    }

    /// A QCOW2 image, over `backing` if there is one.
    static func qcow2(_ builder: QCOW2Builder, seed: UInt64, over backing: Disk? = nil) throws -> Disk {
        let built = builder.build(seed: seed)
        return Disk(
            image: try openQCOW2(MemoryFile(built.bytes), backing: backing?.image),
            bytes: backing.map { built.disk(over: $0.bytes) } ?? built.disk)
    }

    /// A disk of `size` bytes, stored in one way or another.
    static func random(size: Int, over backing: Disk? = nil, using random: inout SeededRandom) throws -> Disk {
        if Int.random(in: 0..<3, using: &random) == 0, backing == nil { return patterned(size, using: &random) }
        var builder = QCOW2Builder(
            size: UInt64(size & ~511), clusterBits: [9, 12, 16].randomElement(using: &random) ?? 9)
        builder.compressionType = UInt8.random(in: 0...1, using: &random)
        let count = size / builder.clusterSize + 1
        let kinds: [QCOW2Builder.Cluster] = [.unallocated, .unallocated, .zero, .preallocatedZero, .data, .compressed]
        while builder.clusters.count < count {
            let kind = kinds.randomElement(using: &random) ?? .data
            builder.clusters += Array(repeating: kind, count: Int.random(in: 1...9, using: &random))
        }
        return try qcow2(builder, seed: random.next(), over: backing)
    }

    /// A raw disk of runs of bytes, of zeros and of holes, none of which is whole sectors.
    static func patterned(_ size: Int, using random: inout SeededRandom) -> Disk {
        var bytes: [UInt8] = []
        var holes: [Range<UInt64>] = []
        while bytes.count < size {
            let count = min(size - bytes.count, Int.random(in: 1...50_000, using: &random))
            switch Int.random(in: 0..<3, using: &random) {
            case 0:
                holes.append(UInt64(bytes.count)..<UInt64(bytes.count + count))
                bytes += Array(repeating: 0, count: count)
            case 1: bytes += Array(repeating: 0, count: count)
            default: bytes += Array(repeating: UInt8.random(in: 1...255, using: &random), count: count)
            }
        }
        return raw(bytes, holes: holes)
    }

    /// A raw copy of this disk in which some bytes are others, and which may be longer or shorter.
    func changed(using random: inout SeededRandom) -> Disk {
        var bytes = bytes
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes.removeLast(Int.random(in: 0...min(bytes.count, 9000), using: &random))
        case 1: bytes += Array(repeating: 0, count: Int.random(in: 0...9000, using: &random))
        case 2: bytes += Array(repeating: 7, count: Int.random(in: 0...9000, using: &random))
        default: break
        }
        guard !bytes.isEmpty else { return .raw(bytes) }
        for _ in 0..<Int.random(in: 0...40, using: &random) {
            let start = Int.random(in: 0..<bytes.count, using: &random)
            let count = [1, 1, 512, 3000].randomElement(using: &random) ?? 1
            for index in start..<min(bytes.count, start + count) { bytes[index] ^= 0x55 }
        }
        return .raw(bytes)
    }
}

/// The layer of the image in `file`, over `backing` if there is one.
func openQCOW2(
    _ file: any HostFile, backing: Image? = nil, resources: LayerResources = LayerResources()
) throws(ImageError) -> Image {
    let layer = try QCOW2Layer(try QCOW2Description(file), file: file, resources: resources)
    return Image(layer: layer, backing: backing)
}

/// A file whose bytes follow from where they are, of any size, or one that is all a hole.
final class MadeFile: HostFile {
    let id = HostFileID()
    let path = "made.raw"
    let size: UInt64
    let identity: FileIdentity? = nil
    let modified = FileTime(seconds: 0, nanoseconds: 0)
    let isCurrent = true
    let descriptor: CInt? = nil
    let allocatedSize: UInt64 = 0
    private let isHole: Bool
    private let byte: @Sendable (_ sector: UInt64) -> UInt8
    private let readBytes = Guarded<UInt64>(0)

    /// How many bytes were read so far.
    var bytesRead: UInt64 { readBytes.withLock { $0 } }

    init(size: UInt64, isHole: Bool = false, byte: @escaping @Sendable (_ sector: UInt64) -> UInt8 = { _ in 0 }) {
        self.size = size
        self.isHole = isHole
        self.byte = byte
    }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        readBytes.withLock { $0 += UInt64(count) }
        output.withUnsafeMutableBytes { room, initializedCount in
            for start in stride(from: 0, to: count, by: 512) {
                let step = min(512, count - start)
                memset(
                    room.baseAddress! + initializedCount, CInt(byte((offset.rawValue + UInt64(start)) / 512)), step)
                initializedCount += step
            }
        }
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        (isHole, limit)
    }
}
