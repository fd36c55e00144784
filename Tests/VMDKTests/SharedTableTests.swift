import BlockImage
import Synchronization
import TestImages
import Testing

@testable import VMDK

/// Images whose grain directories name one grain table again and again: a small file can have hundreds of thousands of
/// entries that do.
struct `A grain table that many entries of the directory name` {
    private static let count = 10_000

    /// An extent all of whose entries name one table, whose entries `entries` are; with a redundant directory that names
    /// another, with the entries `copies`.
    private static func image(_ entries: [UInt32], copies: [UInt32]? = nil) -> [UInt8] {
        var image = SparseImage(capacity: count * 64, grainSize: 1, tableEntryCount: 64, flags: copies == nil ? 1 : 3)
        image.grains = [.data] + Array(repeating: .absent, count: 127)
        image.grains[64] = .data
        var bytes = image.build().bytes
        let table = image.firstTableSector
        let redundant = image.directorySector + image.directorySectors
        for index in 0..<count {
            bytes.put(UInt32(table), at: image.directorySector * 512 + index * 4)
            if copies != nil { bytes.put(UInt32(table + 1), at: redundant * 512 + index * 4) }
        }
        for index in 0..<64 {
            bytes.put(entries[index], at: table * 512 + index * 4)
            bytes.put(copies?[index] ?? 0, at: (table + 1) * 512 + index * 4)
        }
        return bytes
    }

    /// How often a check of `bytes` reads, and what it finds.
    private static func check(_ bytes: [UInt8]) throws -> (reads: Int, result: CheckResult) {
        let file = FaultyFile(bytes, errno: 5, bad: [])
        let layer = try openLayer(file)
        let before = file.readCount
        let result = try layer.check()
        return (file.readCount - before, result)
    }

    @Test(arguments: [nil, 0, 7, 400_000] as [UInt32?])
    func `is read and checked once`(copy: UInt32?) throws {
        let last = UInt32(200)
        for entries in [Array(repeating: 0, count: 64), (0..<64).map { $0 % 2 == 0 ? 0 : last + $0 }] as [[UInt32]] {
            let copies = copy.map { copy in entries.map { $0 == 0 ? copy : $0 } }
            let (reads, result) = try Self.check(Self.image(entries, copies: copies))
            #expect(reads < 200)
            let shared = result.findings.filter { $0.kind == .overlap && $0.times == UInt64(Self.count - 1) }
            #expect(shared.count == (copy == nil ? 1 : 2), "\(result.findings.map(\.message))")
        }
    }

    @Test func `is compared with its copy once for all its runs`() throws {
        let bytes = Self.image(Array(repeating: 0, count: 64), copies: (0..<64).map { $0 % 2 == 0 ? 0 : 30 + $0 })
        let file = FaultyFile(bytes, errno: 5, bad: [])
        let disk = Image(layer: try openLayer(file))
        let measured = disk.measure(walkLimit: 20_000)
        #expect(measured.sum.unallocated > 0 && measured.sum.allocated > 0 && measured.error?.code == .unsupported)
        #expect(file.readCount < 200)
    }

    @Test func `is listed once`() throws {
        let file = MemoryFile(Self.image((0..<64).map { $0 % 3 == 0 ? 0 : 300 + $0 }))
        let listing = Listing()
        try VMDKLayout(file).list(to: listing, LayoutOptions(showsEntries: true, entryLimit: .max))
        #expect(listing.structures.count { $0.hasPrefix("grain table ") } == 1)
        #expect(listing.faults.contains { $0.hasPrefix("9999 entries of the grain directory name grain tables") })
    }

    @Test func `of an extent that a descriptor names twice is checked once`() throws {
        let bytes = Self.image(Array(repeating: 0, count: 64))
        let lines = (0..<50).map { "RW \(Self.count * 64 - $0) SPARSE \"part.vmdk\"" }
        let text =
            "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n"
            + "createType=\"twoGbMaxExtentSparse\"\n" + lines.joined(separator: "\n") + "\n"
        let file = MemoryFile(Array(text.utf8), path: "disk.vmdk")
        let part = MemoryFile(bytes, path: "part.vmdk")
        let layer = try VMDKLayer(
            try VMDKDescription.describe(file), file: file, policy: MemoryPolicy(["part.vmdk": part]),
            resources: LayerResources())
        let before = part.reads.load(ordering: .relaxed)
        let result = try layer.check()
        #expect(part.reads.load(ordering: .relaxed) - before < 100)
        let again = result.findings.filter {
            $0.message.contains("is the file of the extent for guest offset 0x0 as well")
        }
        #expect(again.count == 49, "\(result.findings.map(\.message))")
    }
}

/// What a layout tells: the names of its structures, and what is wrong.
private final class Listing: LayoutConsumer {
    private(set) var structures: [String] = []
    private(set) var faults: [String] = []

    func begin(_ structure: LayoutStructure) { structures.append(structure.name) }
    func add(_ field: LayoutField) {}
    func add(_ entry: LayoutEntry) {}
    func fault(_ message: ErrorText) { faults.append(message.description) }
    func note(_ message: ErrorText) {}
    func omit(_ count: UInt64, _ what: String) {}
    func end() {}
}
