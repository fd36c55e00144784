import HostTools

/// Writes the space-efficient sparse extents of ESXi (SESPARSE in descriptors), knowing nothing of how they are read.
///
/// No document describes them; where the fields lie is what QEMU's reader and the images of ESXi show.
package struct SESparseBuilder: Sendable {
    /// How grains of zeros are told.
    package enum Zero: Sendable {
        /// As grains of zeros: type 2.
        case zeroed
        /// As unmapped by the guest: type 1.
        case unmapped
        /// By turns.
        case both
    }

    /// What the extent holds, in grains of 4,096 bytes.
    package var model: GrainModel
    /// How grains of zeros are told.
    package var zero = Zero.zeroed
    /// Whether the tables and the grains lie in another order than the disk's.
    package var isShuffled = true
    /// The index of the first grain that is used, of those in the file: 4,096 and more fill the entries' upper part.
    package var firstGrain = 0
    /// Whether the journal must be replayed before the extent can be read.
    package var isDirty = false

    /// The entries of a grain table, which has 64 sectors.
    package static let tableEntryCount = 4096
    /// The bytes of a grain.
    package static let grainSize = 4096

    /// An extent that holds `model`.
    package init(_ model: GrainModel) {
        precondition(model.grainSize == Self.grainSize)
        self.model = model
    }

    /// The extent; `seed` chooses the order of the tables and grains.
    package func build(seed: UInt64 = 1) -> BuiltVMDK {
        var random = SeededRandom(seed: seed)
        var image = BuiltVMDK(entrySize: 8, tableEntryCount: Self.tableEntryCount)
        // The constant and the volatile header, the journal's header, the journal.
        _ = image.appendZeros((2 + 2 + 60) * 512)
        let tableCount = (model.grainCount + Self.tableEntryCount - 1) / Self.tableEntryCount
        let directorySectors = max(1, (tableCount * 8 + 511) / 512)
        image.directoryOffset = image.appendZeros(directorySectors * 512)
        let present = (0..<model.grainCount).filter { model.grain($0) != .absent }
        var tables = Set(present.map { $0 / Self.tableEntryCount }).sorted()
        if isShuffled { tables.shuffle(using: &random) }
        let tablesOffset = image.appendZeros(tableCount * Self.tableEntryCount * 8)
        let bitmapOffset = image.appendZeros(512)
        let backmapOffset = image.appendZeros(512)
        image.pad(to: Self.grainSize)
        let grainsOffset = image.appendZeros(firstGrain * Self.grainSize)
        for (place, table) in tables.enumerated() {
            image.tableOffsets[table] = tablesOffset + place * Self.tableEntryCount * 8
            image.putEntry(0x1000_0000_0000_0000 | place, at: image.directoryOffset + table * 8)
        }
        var stored = model.indices(of: .data)
        if isShuffled { stored.shuffle(using: &random) }
        for (place, index) in stored.enumerated() {
            image.grainOffsets[index] = image.append(model.bytes(of: index), alignment: 512)
            image.putEntry(Self.entry(grain: firstGrain + place), at: image.entryOffset(of: index))
        }
        for (count, index) in model.indices(of: .zero).enumerated() {
            let isUnmapped = zero == .unmapped || zero == .both && count % 2 == 1
            image.putEntry((isUnmapped ? 1 : 2) << 60, at: image.entryOffset(of: index))
        }
        let regions = [
            (1, 1), (2, 2), (4, 60), (image.directoryOffset / 512, directorySectors),
            (tablesOffset / 512, tableCount * 64), (bitmapOffset / 512, 1), (backmapOffset / 512, 1),
            (grainsOffset / 512, (image.bytes.count - grainsOffset) / 512),
        ]
        writeHeaders(regions, to: &image)
        return image
    }

    /// The entry of an allocated grain: the low 12 bits of its index stand above the others.
    package static func entry(grain: Int) -> Int {
        3 << 60 | (grain & 0xfff) << 48 | grain >> 12
    }

    private func writeHeaders(_ regions: [(offset: Int, sectors: Int)], to image: inout BuiltVMDK) {
        let fields: [UInt64] = [0xcafe_babe, 0x2_0000_0001, UInt64(model.sectors), 8, 64, 0, 0, 0, 0, 0]
        let places = regions.flatMap { [UInt64($0.offset), UInt64($0.sectors)] }
        for (index, value) in (fields + places).enumerated() { image.poke(value, at: index * 8) }
        for (index, value) in [0xcafe_cafe, 0, 0, isDirty ? 1 : 0].enumerated() {
            image.poke(UInt64(value), at: 512 + index * 8)
        }
    }
}
