import BlockImage
import FormatCore
import ImageFormats
import Synchronization
import TestImages
import Testing

struct `An entry of a cluster` {
    @Test(arguments: [(ClusterImageBuilder.Format.qcow1, 12), (.qcow1, 9), (.qed, 12)])
    func `that leads between two sectors, or two clusters, is damaged, as for QEMU`(
        format: ClusterImageBuilder.Format, bits: Int
    ) throws {
        var builder = ClusterImageBuilder(format, size: 4 << UInt64(bits), clusterBits: bits)
        builder.clusters = Array(repeating: .data, count: 4)
        var (bytes, disk) = builder.build()
        // The lowest byte but one is even in a sound entry of the smallest cluster.
        let offset = builder.entryOffset(1) + (format == .qcow1 ? 6 : 1)
        if format == .qcow1 { bytes[offset] |= 1 } else { bytes[offset] |= 2 }
        let size = 1 << bits
        let image = try opened(bytes, as: format).disk.result.get()
        #expect(areSame(try image.bytes(size, at: 0), disk[..<size]))
        let error = #expect(throws: ImageError.self) { try image.bytes(1, at: UInt64(size)) }
        #expect(
            error?.code == .corrupt && error?.message.contains("no multiple of") == true, "\(String(describing: error))"
        )
        let result = try #require(try checked(bytes, as: format))
        #expect(result.corruptions == 1 && result.findings.first?.kind == .entry)
    }
}

struct `A table in a hole` {
    /// A file that counts how often it is asked for its holes.
    private final class CountedFile: HostFile {
        private let file: PagedFile
        let asked = Atomic<Int>(0)

        init(_ pages: Pages) { file = PagedFile(pages, path: "memory.hds") }

        var id: HostFileID { file.id }
        var path: String { file.path }
        var size: UInt64 { file.size }
        var allocatedSize: UInt64 { file.allocatedSize }
        var identity: FileIdentity? { nil }
        var modified: FileTime { file.modified }
        var isCurrent: Bool { true }
        var descriptor: CInt? { nil }

        func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
            try file.read(count, at: offset, into: &output)
        }

        func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
            asked.add(1, ordering: .relaxed)
            return file.run(at: offset, limit: limit)
        }
    }

    @Test func `is walked over at once, and what comes after the hole is found`() throws {
        func little(_ number: UInt64, _ count: Int) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: number >> UInt64($0 * 8)) }
        }
        // A BAT of 2 GiB, of which the last entry leads out of the file.
        let entries: UInt64 = 500_000_000
        let header =
            Array("WithoutFreeSpace".utf8) + little(2, 4) + little(16, 4) + little(1, 4) + little(1, 4)
            + little(entries, 4) + little(entries, 8) + [UInt8](repeating: 0, count: 20)
        var pages = Pages(size: 64 + entries * 4 + 4096)
        pages.write(header, at: 0)
        pages.write(little(0xffff_ffff, 4), at: 64 + (entries - 1) * 4)
        let file = CountedFile(pages)
        let image = ImageOpener(policy: NoFiles(), resources: LayerResources(cacheSize: 1 << 20))
            .open(file, as: ClusterImageBuilder.Format.parallels.imageFormat, counters: ReadCounters())
        let before = file.asked.load(ordering: .relaxed)
        let result = try #require(try (image.layers.first?.image as? any CheckableImage)?.check { _ in })
        #expect(result.corruptions == 1 && result.findings.first?.kind == .outOfFile)
        #expect(file.asked.load(ordering: .relaxed) - before < 10)
    }
}
