import BlockImage
import HostTools
import TestImages
import VMDK

/// Builds hosted sparse extents in memory, independently of the code that reads them.
struct SparseImage {
    enum Grain: Hashable {
        case absent
        case zeroed
        case data
    }

    var capacity: Int
    var grainSize = 16
    var tableEntryCount = 512
    var version: UInt32 = 1
    var flags: UInt32 = 1
    /// The text that is embedded in sectors 1 to 20.
    var descriptor: String?
    /// How each grain is stored; those beyond the array are absent.
    var grains: [Grain] = []
    /// Grains in the order in which they lie in the file; as on the disk where it is empty.
    var order: [Int] = []

    var grainCount: Int { (capacity + grainSize - 1) / grainSize }
    var tableCount: Int { (grainCount + tableEntryCount - 1) / tableEntryCount }
    /// The sector of the grain directory, which the redundant one follows if there is one.
    let directorySector = 21
    var directorySectors: Int { (tableCount * 4 + 511) / 512 }
    var tableSectors: Int { (tableEntryCount * 4 + 511) / 512 }
    var firstTableSector: Int { directorySector + directorySectors * (flags & 2 == 0 ? 1 : 2) }

    /// The byte of the disk at `offset` where its grain has data: no two sectors are alike.
    static func pattern(at offset: Int) -> UInt8 { UInt8(truncatingIfNeeded: (offset / 512 &* 31) ^ (offset &* 7) | 1) }

    /// The disk that the image holds.
    var disk: [UInt8] {
        var disk = [UInt8](repeating: 0, count: capacity * 512)
        for (index, grain) in grains.enumerated() where grain == .data {
            let start = index * grainSize * 512
            for offset in start..<min(start + grainSize * 512, disk.count) { disk[offset] = Self.pattern(at: offset) }
        }
        return disk
    }

    /// The file, and the sector of each grain that is in it.
    func build() -> (bytes: [UInt8], sectorOfGrain: [Int: Int]) {
        let present = grains.indices.filter { grains[$0] != .absent }
        let tables = Set(present.map { $0 / tableEntryCount }).sorted()
        let sectorOfTable = Dictionary(
            uniqueKeysWithValues: tables.enumerated().map { ($0.element, firstTableSector + $0.offset * tableSectors) })
        var next = firstTableSector + tables.count * tableSectors
        let overhead = next
        var sectorOfGrain: [Int: Int] = [:]
        for index in order.isEmpty ? Array(grains.indices) : order where grains[index] == .data {
            sectorOfGrain[index] = next
            next += grainSize
        }
        var bytes = [UInt8](repeating: 0, count: next * 512)
        putHeader(overhead: overhead, into: &bytes)
        for (table, sector) in sectorOfTable {
            bytes.put(UInt32(sector), at: directorySector * 512 + table * 4)
            if flags & 2 != 0 {
                bytes.put(UInt32(sector), at: (directorySector + directorySectors) * 512 + table * 4)
            }
        }
        for index in present {
            let entry = sectorOfTable[index / tableEntryCount]! * 512 + index % tableEntryCount * 4
            bytes.put(UInt32(sectorOfGrain[index] ?? 1), at: entry)
        }
        let disk = self.disk
        for (index, sector) in sectorOfGrain {
            let start = index * grainSize * 512
            let stored = disk[start..<min(start + grainSize * 512, disk.count)]
            bytes.replaceSubrange(sector * 512..<sector * 512 + stored.count, with: stored)
        }
        return (bytes, sectorOfGrain)
    }

    private func putHeader(overhead: Int, into bytes: inout [UInt8]) {
        bytes.replaceSubrange(0..<4, with: Array("KDMV".utf8))
        bytes.put(version, at: 4)
        bytes.put(flags, at: 8)
        bytes.put(UInt64(capacity), at: 12)
        bytes.put(UInt64(grainSize), at: 20)
        bytes.put(UInt32(tableEntryCount), at: 44)
        bytes.put(UInt64(directorySector), at: 56)
        bytes.put(UInt64(overhead), at: 64)
        bytes.replaceSubrange(73..<77, with: [0x0a, 0x20, 0x0d, 0x0a])
        if flags & 2 != 0 { bytes.put(UInt64(directorySector + directorySectors), at: 48) }
        if let descriptor {
            bytes.put(UInt64(1), at: 28)
            bytes.put(UInt64(20), at: 36)
            bytes.replaceSubrange(512..<512 + descriptor.utf8.count, with: Array(descriptor.utf8))
        }
    }
}

extension SparseVMDKBuilder {
    /// An extent of 1 MiB in four grain tables, whose last grain ends the file.
    static var endingInGrain: SparseVMDKBuilder {
        var builder = SparseVMDKBuilder.whole(GrainModel(size: 1 << 20, grainSize: 4096, seed: 5))
        builder.tableEntryCount = 64
        builder.isShuffled = false
        builder.model.grains[255] = .data
        return builder
    }
}

/// Opens the image in `file`, whose extents are in `files`.
func openLayer(_ file: any HostFile, _ files: [String: MemoryFile] = [:]) throws(ImageError) -> VMDKLayer {
    let description = try VMDKDescription.describe(file)
    return try VMDKLayer(description, file: file, policy: MemoryPolicy(files), resources: LayerResources())
}

/// Opens the image that is `text`, whose extents are in `files`.
func openLayer(_ text: String, _ files: [String: MemoryFile] = [:]) throws(ImageError) -> VMDKLayer {
    try openLayer(MemoryFile(Array(text.utf8)), files)
}

/// Reads of the disk here and there that are not what `disk` has there, as sentences.
func wrongReads(of image: Image, _ disk: [UInt8], count: Int = 40, _ random: inout SeededRandom) throws -> [String] {
    var wrong: [String] = []
    if image.virtualSize != UInt64(disk.count) { return ["the disk has \(image.virtualSize) bytes"] }
    if !areSame(try image.wholeDisk(), disk) { wrong.append("the whole disk") }
    for _ in 0..<count {
        let start = Int.random(in: 0..<disk.count, using: &random)
        let size = min(Int.random(in: 1...20_000, using: &random), disk.count - start)
        if !areSame(try image.bytes(size, at: UInt64(start)), disk[start..<start + size]) {
            wrong.append("\(size) bytes at \(start)")
        }
    }
    return wrong
}
