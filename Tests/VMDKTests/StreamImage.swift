import TestImages

/// Builds streamOptimized extents in memory, independently of the code that reads them.
struct StreamImage {
    /// A built file, and where things are in it, in bytes.
    struct Built {
        var bytes: [UInt8]
        /// The markers of the grains, the last one of a grain that was written twice.
        var grains: [Int: Int] = [:]
        /// Where the marker of the first grain table is, which is where the grains end.
        var tables = 0
        /// Where the marker of the grain directory is.
        var directory = 0
        /// Where the marker of the footer is.
        var footer = 0
    }

    var capacity: Int
    var grainSize = 8
    var tableEntryCount = 16
    var version: UInt32 = 3
    var flags: UInt32 = 0x3_0001
    /// The text that is embedded in the sectors from 1 on.
    var descriptor: String?
    /// The grains in the order in which they are written; what comes twice is other content at first.
    var order: [Int] = []
    /// Those whose streams have neither header nor check sum.
    var bare: Set<Int> = []
    /// Whether the last grain holds only what is left of the disk.
    var cutsLastGrain = false
    /// A progress marker comes after so many grains.
    var progressInterval = Int.max
    /// What the footer says instead of `capacity`.
    var footerCapacity: Int?

    var grainCount: Int { (capacity + grainSize - 1) / grainSize }
    var overhead: Int { 8 + ((descriptor?.utf8.count ?? 0) + 511) / 512 }
    private var grainBytes: Int { grainSize * 512 }

    /// The disk that the image holds.
    var disk: [UInt8] {
        var disk = [UInt8](repeating: 0, count: capacity * 512)
        for index in order {
            for offset in index * grainBytes..<min((index + 1) * grainBytes, disk.count) {
                disk[offset] = SparseImage.pattern(at: offset)
            }
        }
        return disk
    }

    func build() -> Built {
        let disk = self.disk
        var built = Built(bytes: [])
        var left = Dictionary(order.map { ($0, 1) }, uniquingKeysWith: +)
        built.bytes = [UInt8](repeating: 0, count: overhead * 512)
        for (count, index) in order.enumerated() {
            var content = Array(disk[index * grainBytes..<min((index + 1) * grainBytes, disk.count)])
            if !cutsLastGrain { content += [UInt8](repeating: 0, count: grainBytes - content.count) }
            left[index]! -= 1
            if left[index]! > 0 { content = content.map { $0 ^ 0xff } }
            built.grains[index] = built.bytes.count
            let stream = bare.contains(index) ? Compressing.deflate(content) : Compressing.zlib(content)
            built.append(grain: index * grainSize, stream)
            if (count + 1) % progressInterval == 0 { built.append(metadata: 4, []) }
        }
        built.tables = built.bytes.count
        var directory: [UInt32] = []
        for table in 0..<(grainCount + tableEntryCount - 1) / tableEntryCount {
            let entries = (table * tableEntryCount..<(table + 1) * tableEntryCount).map {
                built.grains[$0].map { UInt32($0 / 512) } ?? 0
            }
            guard entries.contains(where: { $0 != 0 }) else {
                directory.append(0)
                continue
            }
            directory.append(UInt32(built.bytes.count / 512 + 1))
            built.append(metadata: 1, entries)
        }
        built.directory = built.bytes.count
        built.append(metadata: 2, directory)
        built.footer = built.bytes.count
        built.append(metadata: 3, sectors: 1)
        built.bytes += header(capacity: footerCapacity ?? capacity, directory: UInt64(built.directory / 512 + 1))
        built.append(metadata: 0, [])
        built.bytes.replaceSubrange(0..<512, with: header(capacity: capacity, directory: .max))
        if let descriptor {
            built.bytes.replaceSubrange(512..<512 + descriptor.utf8.count, with: Array(descriptor.utf8))
        }
        return built
    }

    private func header(capacity: Int, directory: UInt64) -> [UInt8] {
        var bytes = Array("KDMV".utf8) + [UInt8](repeating: 0, count: 508)
        bytes.put(version, at: 4)
        bytes.put(flags, at: 8)
        bytes.put(UInt64(capacity), at: 12)
        bytes.put(UInt64(grainSize), at: 20)
        if descriptor != nil {
            bytes.put(UInt64(1), at: 28)
            bytes.put(UInt64(overhead - 8), at: 36)
        }
        bytes.put(UInt32(tableEntryCount), at: 44)
        bytes.put(directory, at: 56)
        bytes.put(UInt64(overhead), at: 64)
        bytes.replaceSubrange(73..<77, with: [0x0a, 0x20, 0x0d, 0x0a])
        bytes.put(UInt16(1), at: 77)
        return bytes
    }
}

extension StreamImage.Built {
    /// Appends a compressed grain that begins at the sector `lba` of the disk.
    mutating func append(grain lba: Int, _ stream: [UInt8]) {
        var marker = [UInt8](repeating: 0, count: 12)
        marker.put(UInt64(lba), at: 0)
        marker.put(UInt32(stream.count), at: 8)
        bytes += marker + stream
        fill()
    }

    /// Appends a metadata marker and the entries of a table.
    mutating func append(metadata type: UInt32, _ entries: [UInt32]) {
        append(metadata: type, sectors: (entries.count * 4 + 511) / 512)
        for entry in entries {
            bytes += [0, 0, 0, 0]
            bytes.put(entry, at: bytes.count - 4)
        }
        fill()
    }

    mutating func append(metadata type: UInt32, sectors: Int) {
        var marker = [UInt8](repeating: 0, count: 512)
        marker.put(UInt64(sectors), at: 0)
        marker.put(type, at: 12)
        bytes += marker
    }

    private mutating func fill() {
        bytes += [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }
}
