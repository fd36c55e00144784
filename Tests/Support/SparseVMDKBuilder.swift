import HostTools

/// Writes hosted sparse extents with plain grains, knowing nothing of how they are read (Virtual Disk Format 5.0,
/// "Hosted Sparse Extents").
package struct SparseVMDKBuilder: Sendable {
    /// What the extent holds.
    package var model: GrainModel
    /// 1; 2 is what VMware writes with zeroed grains, 3 with tracking of changes.
    package var version: UInt32 = 1
    /// Whether there is a second grain directory with grain tables of its own.
    package var isRedundant = true
    /// Whether grains of zeros are entries of 1, with the flag for it, and not grains full of zeros.
    package var hasZeroedGrains = false
    /// The entries of a grain table.
    package var tableEntryCount = 512
    /// The descriptor that is embedded in sectors 1 to 20; nil for none.
    package var descriptor: VMDKDescriptorText?
    /// Whether the grains lie in another order than the disk's.
    package var isShuffled = true

    /// An extent that holds `model`.
    package init(_ model: GrainModel, descriptor: VMDKDescriptorText? = nil) {
        self.model = model
        self.descriptor = descriptor
    }

    /// An image of its own, with a descriptor that says so.
    package static func whole(
        _ model: GrainModel, cid: UInt32 = 0x1234_5678, parent: (name: String, cid: UInt32)? = nil
    ) -> SparseVMDKBuilder {
        let line = VMDKDescriptorText.extent("SPARSE", size: model.size, file: "image.vmdk")
        return SparseVMDKBuilder(
            model, descriptor: VMDKDescriptorText("monolithicSparse", [line], cid: cid, parent: parent))
    }

    /// The extent; `seed` chooses the order of the grains.
    package func build(seed: UInt64 = 1) throws -> BuiltVMDK {
        var random = SeededRandom(seed: seed)
        var image = BuiltVMDK(entrySize: 4, tableEntryCount: tableEntryCount)
        _ = image.appendZeros(21 * 512)
        let tableCount = (model.grainCount + tableEntryCount - 1) / tableEntryCount
        let present = (0..<model.grainCount).filter { model.grain($0) != .absent }
        let tables = Set(present.map { $0 / tableEntryCount }).sorted()
        var copies: [Int: Int] = [:]
        if isRedundant {
            image.redundantDirectoryOffset = image.appendZeros(tableCount * 4)
            for table in tables { copies[table] = image.appendZeros(tableEntryCount * 4) }
        }
        image.directoryOffset = image.appendZeros(tableCount * 4)
        for table in tables { image.tableOffsets[table] = image.appendZeros(tableEntryCount * 4) }
        image.pad(to: 512)
        let overhead = image.bytes.count / 512
        var stored = hasZeroedGrains ? model.indices(of: .data) : present
        if isShuffled { stored.shuffle(using: &random) }
        for index in stored {
            image.grainOffsets[index] = image.append(model.bytes(of: index), alignment: model.grainSize)
        }
        image.putTables(present, copies)
        let header = SparseVMDKHeader(
            version: version, flags: 1 | (isRedundant ? 2 : 0) | (hasZeroedGrains ? 4 : 0), model: model,
            hasDescriptor: descriptor != nil, tableEntryCount: tableEntryCount,
            redundantDirectory: UInt64(image.redundantDirectoryOffset / 512),
            directory: UInt64(image.directoryOffset / 512), overhead: UInt64(overhead))
        image.bytes.replaceSubrange(0..<512, with: header.bytes)
        try image.embed(descriptor)
        return image
    }
}

/// The first sector of a hosted sparse extent, or its footer.
struct SparseVMDKHeader {
    var version: UInt32
    var flags: UInt32
    var model: GrainModel
    var hasDescriptor: Bool
    var tableEntryCount = 512
    var redundantDirectory: UInt64 = 0
    var directory: UInt64
    var overhead: UInt64
    var compressAlgorithm: UInt16 = 0

    var bytes: [UInt8] {
        var bytes = Array("KDMV".utf8) + [UInt8](repeating: 0, count: 508)
        bytes.put(version, at: 4)
        bytes.put(flags, at: 8)
        bytes.put(UInt64(model.sectors), at: 12)
        bytes.put(UInt64(model.grainSectors), at: 20)
        bytes.put(UInt64(hasDescriptor ? 1 : 0), at: 28)
        bytes.put(UInt64(hasDescriptor ? 20 : 0), at: 36)
        bytes.put(UInt32(tableEntryCount), at: 44)
        bytes.put(redundantDirectory, at: 48)
        bytes.put(directory, at: 56)
        bytes.put(overhead, at: 64)
        bytes.replaceSubrange(73..<77, with: [0x0a, 0x20, 0x0d, 0x0a])
        bytes.put(compressAlgorithm, at: 77)
        return bytes
    }
}

extension BuiltVMDK {
    /// Puts `descriptor` into the 20 sectors behind the header.
    mutating func embed(_ descriptor: VMDKDescriptorText?) throws {
        guard let text = try descriptor?.bytes() else { return }
        precondition(text.count <= 20 * 512)
        bytes.replaceSubrange(512..<512 + text.count, with: text)
    }
}
