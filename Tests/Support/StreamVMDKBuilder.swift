import HostTools

/// Writes streamOptimized extents, knowing nothing of how they are read (Virtual Disk Format 5.0, "Stream-Optimized
/// Compressed Sparse Extents").
package struct StreamVMDKBuilder: Sendable {
    /// Where the grain directory is found.
    package enum Directory: CaseIterable, Sendable {
        /// In the header, with the tables before the grains: as QEMU writes it.
        case front
        /// In the footer, with the tables behind their grains: as VMware writes it.
        case footer
    }

    /// How a grain is compressed.
    package enum Compression: CaseIterable, Sendable {
        /// As zlib streams (RFC 1950), which every product writes.
        case zlib
        /// As plain deflate (RFC 1951), which the specification says.
        case deflate
    }

    /// What the extent holds; its zeros are grains that are compressed like others, unless `hasZeroedGrains`.
    package var model: GrainModel
    /// 1 or 3.
    package var version: UInt32 = 3
    /// Where the grain directory is found.
    package var directory: Directory
    /// How the grains are compressed.
    package var compression = Compression.zlib
    /// Whether grains of zeros are entries of 1, with the flag for it.
    package var hasZeroedGrains = false
    /// Whether there is a redundant directory, which only `front` has space for.
    package var isRedundant = false
    /// Whether every grain and table begins with its marker (bit 17).
    package var hasMarkers = true
    /// The sectors that each grain begins at a multiple of.
    package var alignment = 1
    /// After how many grains each a progress marker stands; 0: none.
    package var progressInterval = 0
    /// Whether the grains lie in another order than the disk's.
    package var isShuffled = false
    /// Whether only the bytes of the last grain that lie on the disk are compressed, as QEMU does it.
    package var isLastGrainCut = false
    /// The sectors before the first grain, at least.
    package var overhead = 128
    /// The descriptor that is embedded in sectors 1 to 20; nil for none.
    package var descriptor: VMDKDescriptorText?
    /// Bytes behind the end of the stream.
    package var trailer: [UInt8] = []

    /// An extent that holds `model`.
    package init(_ model: GrainModel, _ directory: Directory = .footer, descriptor: VMDKDescriptorText? = nil) {
        self.model = model
        self.directory = directory
        self.descriptor = descriptor
    }

    /// An image of its own, with a descriptor that says so.
    package static func whole(
        _ model: GrainModel, _ directory: Directory = .footer, parent: (name: String, cid: UInt32)? = nil
    ) -> StreamVMDKBuilder {
        let line = VMDKDescriptorText.extent("SPARSE", size: model.size, file: "generated-stream.vmdk")
        return StreamVMDKBuilder(
            model, directory, descriptor: VMDKDescriptorText("streamOptimized", [line], parent: parent))
    }

    /// The extent; `seed` chooses the order of the grains.
    package func build(seed: UInt64 = 1) throws -> BuiltVMDK {
        var random = SeededRandom(seed: seed)
        var image = BuiltVMDK(entrySize: 4, tableEntryCount: 512)
        _ = image.appendZeros(21 * 512)
        let tableCount = (model.grainCount + 511) / 512
        let present = (0..<model.grainCount).filter { model.grain($0) != .absent }
        var stored = hasZeroedGrains ? model.indices(of: .data) : present
        if isShuffled { stored.shuffle(using: &random) }
        let tables = Set(present.map { $0 / 512 }).sorted()
        var copies: [Int: Int] = [:]
        if directory == .front {
            image.directoryOffset = image.appendZeros(tableCount * 4)
            if isRedundant { image.redundantDirectoryOffset = image.appendZeros(tableCount * 4) }
            for table in tables { image.tableOffsets[table] = image.appendZeros(2048) }
            if isRedundant { for table in tables { copies[table] = image.appendZeros(2048) } }
        }
        if image.bytes.count < overhead * 512 { _ = image.appendZeros(overhead * 512 - image.bytes.count) }
        image.pad(to: 512)
        let firstGrain = image.bytes.count / 512
        appendGrains(stored, to: &image)
        if directory == .footer {
            for table in tables { image.tableOffsets[table] = appendTable(2048, type: 1, to: &image) }
            image.directoryOffset = appendTable(tableCount * 4, type: 2, to: &image)
        }
        image.putTables(present, copies)
        writeHeaders(overhead: firstGrain, to: &image)
        try image.embed(descriptor)
        image.bytes += trailer
        return image
    }

    private func appendGrains(_ stored: [Int], to image: inout BuiltVMDK) {
        for (count, index) in stored.enumerated() {
            let end = isLastGrainCut ? model.size - index * model.grainSize : model.grainSize
            let content = Array(model.bytes(of: index).prefix(end))
            let data = compression == .zlib ? Compressing.zlib(content) : Compressing.deflate(content, windowBits: 15)
            var marker = [UInt8](repeating: 0, count: hasMarkers ? 12 : 0)
            if hasMarkers {
                marker.put(UInt64(index * model.grainSectors), at: 0)
                marker.put(UInt32(data.count), at: 8)
            }
            image.grainOffsets[index] = image.append(marker + data, alignment: alignment * 512)
            image.pad(to: 512)
            if progressInterval > 0, (count + 1) % progressInterval == 0 {
                _ = image.append(Self.marker(type: 4, sectors: UInt64(count + 1)))
            }
        }
        image.pad(to: 512)
    }

    /// Space for a table after its marker; answers where the table begins.
    private func appendTable(_ count: Int, type: UInt32, to image: inout BuiltVMDK) -> Int {
        if hasMarkers { _ = image.append(Self.marker(type: type, sectors: UInt64((count + 511) / 512))) }
        let offset = image.appendZeros(count)
        image.pad(to: 512)
        return offset
    }

    private func writeHeaders(overhead: Int, to image: inout BuiltVMDK) {
        let flags: UInt32 =
            0x1_0001 | (hasMarkers ? 0x2_0000 : 0) | (isRedundant ? 2 : 0) | (hasZeroedGrains ? 4 : 0)
        var header = SparseVMDKHeader(
            version: version, flags: flags, model: model, hasDescriptor: descriptor != nil,
            redundantDirectory: UInt64(image.redundantDirectoryOffset / 512),
            directory: UInt64(image.directoryOffset / 512), overhead: UInt64(overhead), compressAlgorithm: 1)
        if directory == .footer {
            _ = image.append(Self.marker(type: 3, sectors: 1))
            image.footerOffset = image.append(header.bytes)
            header.directory = .max
        }
        // The end of the stream; behind tables in front, too.
        _ = image.append([UInt8](repeating: 0, count: 512))
        image.bytes.replaceSubrange(0..<512, with: header.bytes)
    }

    private static func marker(type: UInt32, sectors: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 512)
        bytes.put(sectors, at: 0)
        bytes.put(type, at: 12)
        return bytes
    }
}
