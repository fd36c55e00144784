import BlockImage
import TestImages
import Testing

@testable import ImageFormats

/// Images with many snapshots that share one L1 table: a file of 1 MiB can have 12,000 of them, each with as many runs as
/// a disk may have.
struct `Many snapshots of one L1 table` {
    private static let count = 40

    /// All entries of the L1 table name one L2 table, every second of whose entries has data.
    private static func open() throws -> OpenedImage {
        let tables = 400
        var builder = QCOW2Builder(size: UInt64(64 * tables) << 9, clusterBits: 9)
        builder.clusters = (0..<64).map { $0 % 2 == 0 ? .data : .zero }
        let built = builder.build()
        var bytes = built.bytes
        let start = Int(built.l1Offset)
        for table in 1..<tables {
            bytes.replaceSubrange(start + table * 8..<start + table * 8 + 8, with: bytes[start..<start + 8])
        }
        let snapshots = UInt64(bytes.count)
        for index in 0..<count {
            var entry = Record().with(built.l1Offset, UInt32(tables), UInt16(4), UInt16(4))
            entry = entry.with(UInt32(0), UInt32(0), UInt64(0), UInt32(0), UInt32(16), UInt64(0), builder.size)
            bytes += entry.bytes + Array("\(1000 + index)\(1000 + index)".utf8)
        }
        bytes.replaceSubrange(60..<72, with: Record().with(UInt32(count), snapshots).bytes)
        let resources = LayerResources()
        return ImageOpener(policy: NothingNamed(), resources: resources)
            .open(MemoryFile(bytes), as: .qcow2, counters: resources.counters)
    }

    @Test func `are counted together within what their files can hold`() throws {
        let opened = try Self.open()
        let image = try opened.disk.result.get()
        let whole = try #require(opened.disk.allocation)
        #expect(whole.error == nil && whole.lookUps >= 64 * 400)
        let limit = 4 * WalkBudget.lookUpLimit(hostSize: image.hostSize)
        try #require(UInt64(Self.count * whole.lookUps) > limit + UInt64(whole.lookUps))
        let disks = try (0..<Self.count).map { try #require(opened.snapshotDisk($0)) }
        let measured = try disks.map { try #require($0.allocation) }
        #expect(measured.first?.whole == whole.sum)
        #expect(measured.last?.error?.code == .unsupported && measured.last?.lookUps == 0)
        #expect(UInt64(measured.reduce(0) { $0 + $1.lookUps }) <= limit)
        // A part of another kind has no more.
        #expect(opened.part(.success(image)).allocation?.lookUps == 0)
        // The estimate is what the files take.
        #expect(disks.last?.allocatedSize == min(image.virtualSize, image.hostSize))
        #expect(disks.first?.allocatedSize == whole.sum.allocated)
    }

    @Test func `are estimated within what is left`() throws {
        let image = try Self.open().disk.result.get()
        let shared = SharedLookUps(100)
        let sizes = (0..<3).map { _ in OpenedDisk(.success(image), sharing: shared).allocatedSize }
        // The first look-ups, of which every second found data, say that it is at least so much.
        #expect(sizes == [50 << 9, image.hostSize, image.hostSize])
        #expect(shared.measure(image, atMost: 10).lookUps == 0)
        let own = SharedLookUps(100)
        #expect((5...10).contains(own.measure(image, atMost: 10).lookUps))
        #expect((80...90).contains(own.measure(image, atMost: .max).lookUps))
    }
}

/// The policy for images that name nothing.
struct NothingNamed: OpenPolicy {
    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(.denied, path: file.path, "names \(reference.text)")
    }
}
