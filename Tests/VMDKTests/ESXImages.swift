import TestImages

/// Builds COWD (VMFSSPARSE) extents in memory, independently of the code that reads them.
struct COWDImage {
    var capacity: Int
    var grainSize = 1
    var parentFileName = ""
    /// The grains that the file holds, in the order in which they lie there.
    var order: [Int] = []

    /// The disk that the image holds.
    var disk: [UInt8] {
        var disk = [UInt8](repeating: 0, count: capacity * 512)
        for index in order {
            for offset in index * grainSize * 512..<min((index + 1) * grainSize * 512, disk.count) {
                disk[offset] = SparseImage.pattern(at: offset)
            }
        }
        return disk
    }

    /// The sector of the grain directory.
    let directorySector = 4
    var directoryCount: Int { (capacity + 4096 * grainSize - 1) / (4096 * grainSize) }

    /// The file, and the sector of each grain that is in it.
    func build() -> (bytes: [UInt8], sectorOfGrain: [Int: Int]) {
        let tables = Set(order.map { $0 / 4096 }).sorted()
        var next = directorySector + (directoryCount * 4 + 511) / 512
        var bytes = Array("COWD".utf8) + [UInt8](repeating: 0, count: next * 512 - 4)
        var sectorOfTable: [Int: Int] = [:]
        for table in tables {
            bytes.put(UInt32(next), at: directorySector * 512 + table * 4)
            sectorOfTable[table] = next
            next += 32
        }
        bytes += [UInt8](repeating: 0, count: next * 512 - bytes.count)
        var sectorOfGrain: [Int: Int] = [:]
        let disk = self.disk
        for index in order {
            sectorOfGrain[index] = next
            bytes.put(UInt32(next), at: sectorOfTable[index / 4096]! * 512 + index % 4096 * 4)
            let start = index * grainSize * 512
            bytes += disk[start..<min(start + grainSize * 512, disk.count)]
            next += grainSize
            bytes += [UInt8](repeating: 0, count: next * 512 - bytes.count)
        }
        let fields = [1, 3, capacity, grainSize, directorySector, directoryCount, next]
        for (index, value) in fields.enumerated() { bytes.put(UInt32(value), at: 4 + index * 4) }
        bytes.replaceSubrange(32..<32 + parentFileName.utf8.count, with: Array(parentFileName.utf8))
        return (bytes, sectorOfGrain)
    }
}

/// Builds seSparse extents in memory, independently of the code that reads them.
struct SESparseImage {
    enum Grain: CaseIterable {
        case absent
        case unmapped
        case zeroed
        case data
    }

    var capacity: Int
    /// How each grain of 4 KiB is stored; those beyond the array are absent.
    var grains: [Grain] = []
    /// Grains with data in the order in which they are numbered; as on the disk where it is empty.
    var order: [Int] = []

    /// Places in sectors.
    let volatileSector = 1
    let directorySector = 16
    var directorySectors: Int { (tableCount * 8 + 511) / 512 }
    var tablesSector: Int { directorySector + directorySectors + 3 }
    var tableCount: Int { (capacity + 32767) / 32768 }
    var grainsSector: Int { tablesSector + tableCount * 64 + 5 }

    /// The disk that the image holds.
    var disk: [UInt8] {
        var disk = [UInt8](repeating: 0, count: capacity * 512)
        for (index, grain) in grains.enumerated() where grain == .data {
            for offset in index * 4096..<min((index + 1) * 4096, disk.count) {
                disk[offset] = SparseImage.pattern(at: offset)
            }
        }
        return disk
    }

    /// The file, and the sector of each grain that is in it.
    func build() -> (bytes: [UInt8], sectorOfGrain: [Int: Int]) {
        let present = grains.indices.filter { grains[$0] != .absent }
        // Tables are numbered from the last on.
        let tables = Set(present.map { $0 / 4096 }).sorted().reversed()
        let numberOfTable = Dictionary(uniqueKeysWithValues: tables.enumerated().map { ($0.element, $0.offset) })
        let stored = order.isEmpty ? Array(grains.indices) : order
        let numbers = stored.filter { grains[$0] == .data }
        let numberOfGrain = Dictionary(uniqueKeysWithValues: numbers.enumerated().map { ($0.element, $0.offset) })
        var bytes = [UInt8](repeating: 0, count: (grainsSector + numbers.count * 8) * 512)
        putHeaders(into: &bytes)
        for (table, number) in numberOfTable {
            bytes.put(0x1000_0000_0000_0000 | UInt64(number), at: directorySector * 512 + table * 8)
        }
        for index in present {
            let number = UInt64(numberOfGrain[index] ?? 0)
            let entry: UInt64 =
                switch grains[index] {
                case .absent: 0
                case .unmapped: 1 << 60
                case .zeroed: 2 << 60 | 77
                case .data: 3 << 60 | (number & 0xfff) << 48 | number >> 12
                }
            bytes.put(entry, at: (tablesSector + numberOfTable[index / 4096]! * 64) * 512 + index % 4096 * 8)
        }
        let disk = self.disk
        for (index, number) in numberOfGrain {
            let content = disk[index * 4096..<min((index + 1) * 4096, disk.count)]
            let place = (grainsSector + number * 8) * 512
            bytes.replaceSubrange(place..<place + content.count, with: content)
        }
        return (bytes, numberOfGrain.mapValues { grainsSector + $0 * 8 })
    }

    private func putHeaders(into bytes: inout [UInt8]) {
        let fields: [Int: Int] = [
            0: 0xcafe_babe, 1: 0x2_0000_0001, 2: capacity, 3: 8, 4: 64, 10: volatileSector, 11: 1, 12: 2, 13: 1, 14: 3,
            15: 4, 16: directorySector, 17: directorySectors, 18: tablesSector, 19: tableCount * 64, 20: 8, 21: 1,
            22: 9, 23: 1, 24: grainsSector, 25: max((capacity + 7) / 8, 1) * 8,
        ]
        for (index, value) in fields { bytes.put(UInt64(value), at: index * 8) }
        bytes.put(UInt64(0xcafe_cafe), at: volatileSector * 512)
    }
}
