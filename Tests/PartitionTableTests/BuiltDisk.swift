import BlockImage
import PartitionTable
import TestImages

/// A small disk in memory whose tables are written byte by byte, knowing nothing of how they are read.
struct BuiltDisk {
    var bytes: [UInt8]
    let sectorSize: Int

    init(sectors: Int = 256, sectorSize: Int = 512) {
        bytes = Array(repeating: 0, count: sectors * sectorSize)
        self.sectorSize = sectorSize
    }

    var sectorCount: Int { bytes.count / sectorSize }

    /// Writes `value`, little-endian, at `offset`.
    mutating func poke(_ value: some FixedWidthInteger, at offset: Int) {
        let new = withUnsafeBytes(of: value.littleEndian) { Array($0) }
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    func peek<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
        (0..<Value.bitWidth / 8).reversed().reduce(0) { $0 << 8 | Value(bytes[offset + $1]) }
    }

    func table(sectorSize: SectorSize? = nil) -> PartitionTable {
        PartitionTable(of: Image(layer: RawLayer(file: MemoryFile(bytes))), sectorSize: sectorSize)
    }

    // MARK: MBR

    /// Makes a boot record of the sector `index`: writes its signature.
    mutating func sign(_ index: Int = 0) {
        poke(UInt16(0xaa55), at: index * sectorSize + 510)
    }

    /// Writes the entry `entry`, 0 to 3, of the boot record in the sector `index`.
    mutating func setEntry(
        _ entry: Int, of index: Int = 0, type: UInt8, first: UInt32, count: UInt32, indicator: UInt8 = 0
    ) {
        sign(index)
        let offset = index * sectorSize + 446 + entry * 16
        poke(indicator, at: offset)
        poke(type, at: offset + 4)
        poke(first, at: offset + 8)
        poke(count, at: offset + 12)
    }

    // MARK: GPT

    /// The name of an entry, and where its partition lies.
    struct Entry {
        var first: UInt64
        var last: UInt64
        var type: [UInt8] = Array(1...16)
        var name: [UInt16] = []
    }

    /// Writes a protective entry, and a GPT of `entries` at both ends of the disk.
    mutating func setGPT(_ entries: [Entry], count: Int = 128, entrySize: Int = 128) {
        setEntry(0, type: 0xee, first: 1, count: UInt32(sectorCount - 1))
        var array = [UInt8](repeating: 0, count: count * entrySize)
        for (index, entry) in entries.enumerated() {
            var one = entry.type + (0..<16).map { UInt8(truncatingIfNeeded: index) &+ $0 &+ 0x40 }
            for value in [entry.first, entry.last, 0] { withUnsafeBytes(of: value.littleEndian) { one += $0 } }
            for unit in entry.name { withUnsafeBytes(of: unit.littleEndian) { one += $0 } }
            array.replaceSubrange(index * entrySize..<index * entrySize + one.count, with: one)
        }
        let arraySectors = (array.count + sectorSize - 1) / sectorSize
        let last = sectorCount - 1
        for (mine, other, arrayStart) in [(1, last, 2), (last, 1, last - arraySectors)] {
            bytes.replaceSubrange(arrayStart * sectorSize..<arrayStart * sectorSize + array.count, with: array)
            let offset = mine * sectorSize
            bytes.replaceSubrange(offset..<offset + 8, with: Array("EFI PART".utf8))
            poke(UInt32(0x10000), at: offset + 8)
            poke(UInt32(92), at: offset + 12)
            poke(UInt64(mine), at: offset + 24)
            poke(UInt64(other), at: offset + 32)
            poke(UInt64(2 + arraySectors), at: offset + 40)
            poke(UInt64(last - arraySectors - 1), at: offset + 48)
            bytes.replaceSubrange(offset + 56..<offset + 72, with: Array(0xa0...0xaf))
            poke(UInt64(arrayStart), at: offset + 72)
            poke(UInt32(count), at: offset + 80)
            poke(UInt32(entrySize), at: offset + 84)
            seal(mine)
        }
    }

    /// Where the header of the sector `index` says that its entries are.
    private func array(of index: Int) -> Range<Int> {
        let start = Int(peek(UInt64.self, at: index * sectorSize + 72)) * sectorSize
        let count =
            Int(peek(UInt32.self, at: index * sectorSize + 80)) * Int(peek(UInt32.self, at: index * sectorSize + 84))
        return start..<start + count
    }

    /// Corrects the check sums of the header in the sector `index`; those of its entries too where they are there.
    mutating func seal(_ index: Int, withEntries: Bool = true) {
        let offset = index * sectorSize
        if withEntries { poke(Self.crc32(bytes[array(of: index)]), at: offset + 88) }
        poke(UInt32(0), at: offset + 16)
        poke(Self.crc32(bytes[offset..<offset + Int(peek(UInt32.self, at: offset + 12))]), at: offset + 16)
    }

    /// CRC-32 bit by bit, as its definition has it.
    static func crc32(_ bytes: some Sequence<UInt8>) -> UInt32 {
        var sum = UInt32.max
        for byte in bytes {
            sum ^= UInt32(byte)
            for _ in 0..<8 { sum = sum & 1 == 0 ? sum >> 1 : sum >> 1 ^ 0xedb8_8320 }
        }
        return ~sum
    }
}
