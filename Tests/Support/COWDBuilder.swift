import HostTools

/// Writes the copy-on-write disks of ESX (COWD, VMFSSPARSE in descriptors), knowing nothing of how they are read
/// (Virtual Disk Format 5.0, "ESX Server Sparse Extents").
package struct COWDBuilder: Sendable {
    /// What the extent holds; its zeros are grains full of zeros, because the format has no other.
    package var model: GrainModel
    /// Whether the grains lie in another order than the disk's.
    package var isShuffled = true
    /// The grain directory's entries beyond those that the disk needs.
    package var spareDirectoryEntries = 0
    /// The parent's name in the header, which nothing reads; nil for the root of a chain, which has a geometry there.
    package var parentName: String?

    /// The entries of a grain table.
    package static let tableEntryCount = 4096

    /// An extent that holds `model`, whose grains ESX makes a sector long.
    package init(_ model: GrainModel) {
        self.model = model
    }

    /// The extent; `seed` chooses the order of the grains.
    package func build(seed: UInt64 = 1) -> BuiltVMDK {
        var random = SeededRandom(seed: seed)
        var image = BuiltVMDK(entrySize: 4, tableEntryCount: Self.tableEntryCount)
        _ = image.appendZeros(2048)
        let needed = (model.grainCount + Self.tableEntryCount - 1) / Self.tableEntryCount
        let entryCount = needed + spareDirectoryEntries
        image.directoryOffset = image.appendZeros(entryCount * 4)
        var stored = (0..<model.grainCount).filter { model.grain($0) != .absent }
        let tables = Set(stored.map { $0 / Self.tableEntryCount })
        // Written as a machine writes: each table appears with the first grain of it.
        if isShuffled { stored.shuffle(using: &random) }
        for index in stored {
            let table = index / Self.tableEntryCount
            if image.tableOffsets[table] == nil {
                image.tableOffsets[table] = image.appendZeros(Self.tableEntryCount * 4)
                image.putEntry(image.tableOffsets[table]! / 512, at: image.directoryOffset + table * 4)
            }
            let offset = image.append(model.bytes(of: index))
            image.grainOffsets[index] = offset
            image.putEntry(offset / 512, at: image.entryOffset(of: index))
        }
        precondition(tables.count == image.tableOffsets.count)
        image.pad(to: 512)
        writeHeader(entryCount: entryCount, to: &image)
        return image
    }

    private func writeHeader(entryCount: Int, to image: inout BuiltVMDK) {
        image.bytes.replaceSubrange(0..<4, with: Array("COWD".utf8))
        let fields = [
            1, 3, model.sectors, model.grainSectors, image.directoryOffset / 512, entryCount, image.bytes.count / 512,
        ]
        for (index, value) in fields.enumerated() { image.poke(UInt32(value), at: 4 + index * 4) }
        if let parentName {
            image.bytes.replaceSubrange(32..<32 + parentName.utf8.count, with: Array(parentName.utf8))
        } else {
            for (index, value) in [20, 16, 63].enumerated() { image.poke(UInt32(value), at: 32 + index * 4) }
        }
    }
}
