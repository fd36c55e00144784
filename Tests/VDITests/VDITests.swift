import BlockImage
import Encryption
import FormatCore
import HostTools
import TestImages
import Testing

@testable import VDI

/// Opens nothing.
private struct NoFiles: OpenPolicy {
    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(.denied, path: file.path, "\(reference.text) is not opened")
    }
}

/// The image of `bytes`, made ready to read.
private func describeVDI(_ bytes: [UInt8]) throws(ImageError) -> VDIImage {
    guard var image = try VDIDriver().describe(MemoryFile(bytes)) as? VDIImage else { preconditionFailure("no VDI") }
    let services = LayerServices(
        policy: NoFiles(), keys: ImageKeys([:]), resources: LayerResources(cacheSize: 1 << 20), above: [],
        isSearching: false)
    try image.makeReadable(with: services)
    return image
}

/// The disk of `bytes`, over `backing` if there is one.
private func openVDI(_ bytes: [UInt8], over backing: Image? = nil) throws(ImageError) -> Image {
    guard let layer = try describeVDI(bytes).layer else { preconditionFailure("no layer") }
    return Image(layer: layer, backing: backing)
}

private func failure(of bytes: [UInt8]) -> ImageError? {
    imageError { _ = try openVDI(bytes).wholeDisk() }
}

struct `A VDI` {
    /// Four blocks and a sector: data, nothing, zeros, data, nothing.
    static let good: VDIBuilder = {
        var builder = VDIBuilder(size: 4 * 4096 + 512)
        let data = (0..<4096).map { UInt8(truncatingIfNeeded: $0 / 512 &+ 1) }
        builder.blocks = [.data(data), .free, .zero, .data(data.reversed()), .free]
        return builder
    }()

    @Test func `has a header that is the same when it is written and read again`() throws {
        let header = Header(
            info: [UInt8](repeating: 0x41, count: 64), storedKind: 4, flags: 1,
            comment: [UInt8](repeating: 0x42, count: 256), mapOffset: 512, dataOffset: 1024, geometry: [1, 2, 3, 512],
            diskSize: 1 << 40, blockSize: 1 << 20, extraSize: 512, blockCount: 1 << 20, allocatedCount: 7,
            identity: ImageIdentity(Array(1...16)), modification: ImageIdentity(Array(2...17)),
            parentIdentity: ImageIdentity(Array(3...18)), parentModification: ImageIdentity(Array(4...19)))
        #expect(try Header(parsing: header.encoded) == header && header.encoded.count == 512)
    }

    @Test(arguments: 1...16 as ClosedRange<UInt64>)
    func `is read by its block map`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let blockSize = [512, 4096, 1 << 16].randomElement(using: &random) ?? 4096
        let size = Int.random(in: 1...200, using: &random) * 512 - (seed % 3 == 0 ? 100 : 0)
        let hasParent = seed % 2 == 0
        let parent = (0..<(size + 511) / 512 * 512).map { UInt8(truncatingIfNeeded: $0 / 512 &* 31 &+ 2) }
        var builder = VDIBuilder(size: UInt64(size))
        builder.blockSize = blockSize
        builder.extraSize = [0, 512, 4096].randomElement(using: &random) ?? 0
        builder.headerSize = [384, 400].randomElement(using: &random) ?? 384
        builder.isReversed = seed % 5 == 0
        builder.kind = hasParent ? 4 : 1
        builder.parent = hasParent ? (Array(3...18), Array(4...19)) : nil
        var disk = hasParent ? parent : [UInt8](repeating: 0, count: parent.count)
        for start in stride(from: 0, to: disk.count, by: blockSize) {
            let end = min(start + blockSize, disk.count)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: builder.blocks.append(.free)
            case 1:
                builder.blocks.append(.zero)
                disk.replaceSubrange(start..<end, with: [UInt8](repeating: 0, count: end - start))
            default:
                let bytes = (0..<blockSize).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ start &+ 1) }
                builder.blocks.append(.data(bytes))
                disk.replaceSubrange(start..<end, with: bytes.prefix(end - start))
            }
        }
        let backing = hasParent ? Image(layer: RawLayer(file: MemoryFile(parent))) : nil
        let image = try openVDI(builder.build(), over: backing)
        // VirtualBox makes disks that end inside of a sector.
        #expect(image.virtualSize == UInt64(disk.count))
        #expect(areSame(try image.wholeDisk(), disk), "seed \(seed)")
        for _ in 0..<200 {
            let start = Int.random(in: 0..<disk.count, using: &random)
            let count = Int.random(in: 1...min(3000, disk.count - start), using: &random)
            let found = try image.bytes(count, at: UInt64(start))
            #expect(areSame(found, disk[start..<start + count]), "\(count) at \(start), seed \(seed)")
        }
        #expect(try describeVDI(builder.build()).check { _ in }?.findings == [])
    }

    @Test func `tells zeros from what was never written`() throws {
        var builder = Self.good
        builder.kind = 4
        builder.parent = (Array(3...18), Array(4...19))
        let layer = try #require(try describeVDI(builder.build()).layer)
        guard case .unallocated = try layer.extent(at: GuestOffset(4096), limit: 8192).storage,
            case .zero(explicit: true) = try layer.extent(at: GuestOffset(8192), limit: 8192).storage
        else {
            Issue.record("the map is read otherwise")
            return
        }
    }

    @Test(
        arguments: [
            (64, 0, .corrupt, "signature: is no VDI's, which must be 0xbeda107f"),
            (68, 0x10000, .unsupported, "version: is 1.0, which is not supported; 1.1 is"),
            (68, 1, .unsupported, "version: is 0.1, which is not supported; 1.1 is"),
            (72, 300, .corrupt, "header size: is 300, but must be at least 384 in version 1.1"),
            (
                76, 5, .unsupported,
                "image type: is 5, which is not supported; 1 (dynamic), 2 (static), 3 (undo) and 4 (differencing) are"
            ),
            (340, 700, .corrupt, "block map offset: is 0x2bc, but must be a multiple of 512 behind the header"),
            (344, 0, .corrupt, "data offset: is 0x0, but must be a multiple of 512 behind the header"),
            (344, 512, .corrupt, "data offset: is 0x200, inside the block map, which ends at 0x214"),
            (340, 0x4000_0000, .corrupt, "block map offset: is 0x40000000, but the file ends at 0x2400"),
            (360, 4096, .unsupported, "sector size: is 4096, which is not supported; 512 is"),
            (372, 0x8000_0000, .corrupt, "disk size: is 9223372036854792704, but must be less than 2^63"),
            (372, 1, .corrupt, "block count: is 5, but a disk of 4294984192 bytes has 1048581 blocks of 4096"),
            (
                376, 3000, .unsupported,
                "block size: is 3000, which is not supported; powers of two from 512 to 1073741824 are"
            ),
            (380, 1 << 21, .corrupt, "extra block size: is 2097152, but must be at most 1048576"),
        ] as [(Int, UInt32, ImageError.Code, String)])
    func `whose header cannot be is refused`(offset: Int, value: UInt32, code: ImageError.Code, message: String) {
        var bytes = Self.good.build()
        bytes.put(value, at: offset)
        let error = failure(of: bytes)
        #expect(error?.code == code && error?.message == message, "\(error?.description ?? "read")")
    }

    @Test func `is read but for blocks that do not lie in its file, and its check says which`() throws {
        var bytes = Self.good.build()
        bytes.put(UInt32(77), at: 512)
        let image = try openVDI(bytes)
        let error = imageError { _ = try image.bytes(1, at: 0) }
        #expect(error?.code == .truncated && error?.offset == HostOffset(512))
        #expect(image.lost(at: GuestOffset(0), limit: .max) == 4096 && image.lost(at: GuestOffset(0), limit: 5) == 5)
        #expect(try image.bytes(1, at: 3 * 4096) == [8])
        #expect(try describeVDI(bytes).check { _ in }?.findings.map(\.kind) == [.outOfFile])
        bytes.put(UInt32(1), at: 512)
        #expect(try describeVDI(bytes).check { _ in }?.findings.map(\.kind) == [.overlap])
        bytes.put(UInt32.max, at: 512)
        #expect(try describeVDI(bytes).check { _ in }?.findings.map(\.kind) == [.entry, .leak])
    }

    @Test func `over a parent that it does not name is refused`() {
        var builder = Self.good
        builder.kind = 4
        #expect(failure(of: builder.build())?.offset == HostOffset(424))
    }

    private func exercise(_ bytes: [UInt8]) {
        let layout = try? VDILayout(MemoryFile(bytes))
        try? layout?.list(to: NoConsumer(), LayoutOptions(showsEntries: true, entryLimit: 100))
        guard let described = try? describeVDI(bytes), let layer = described.layer else { return }
        let image = Image(layer: layer)
        _ = try? image.bytes(Int(min(image.virtualSize, 20000)), at: 0)
        if image.virtualSize > 512 { _ = try? image.bytes(512, at: image.virtualSize - 512) }
        for index in 0..<5 where UInt64(index) * 4096 < image.virtualSize {
            _ = image.lost(at: GuestOffset(UInt64(index) * 4096), limit: .max)
        }
        if image.virtualSize < 1 << 30 { _ = try? described.check { _ in } }
    }

    @Test func `with every field at its extremes ends in an error, never in a trap`() {
        let good = Self.good.build()
        for offset in Array(stride(from: 64, to: 84, by: 4)) + Array(stride(from: 340, to: 392, by: 4)) + [512, 516] {
            for value: UInt64 in [
                0, 1, 4, 511, 512, 4096, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 55, 1 << 62,
                (1 << 63) - 513, (1 << 63) - 1, 1 << 63, .max - 511, .max,
            ] {
                var bytes = good
                bytes.put(UInt32(truncatingIfNeeded: value), at: offset)
                exercise(bytes)
                bytes = good
                bytes.put(value, at: offset)
                exercise(bytes)
            }
        }
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `with noise in it ends in an error, never in a trap`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for _ in 0..<200 {
            var bytes = Self.good.build()
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                bytes[Int.random(in: 64..<700, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random)) }
            exercise(bytes)
        }
    }
}

/// Takes everything, and does nothing with it.
private final class NoConsumer: LayoutConsumer {
    func begin(_ structure: LayoutStructure) {}
    func add(_ field: LayoutField) {}
    func add(_ entry: LayoutEntry) {}
    func fault(_ message: ErrorText) {}
    func note(_ message: ErrorText) {}
    func omit(_ count: UInt64, _ what: String) {}
    func end() {}
}
