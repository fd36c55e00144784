/// Builds VHD files by the specification, for tests that need what no program makes, or damage it.
package struct VHDBuilder: Sendable {
    /// What is stored of a block: the sectors whose bits are set, and their bytes.
    package struct Block: Sendable {
        /// Whether a sector was written, for each.
        package var written: [Bool]
        /// All bytes of the block.
        package var bytes: [UInt8]

        /// The block `bytes`, of which the sectors are there that `written` says.
        package init(written: [Bool], bytes: [UInt8]) {
            self.written = written
            self.bytes = bytes
        }
    }

    /// The size of the disk.
    package var size: UInt64
    /// 2: fixed, 3: dynamic, 4: differencing.
    package var kind: UInt32 = 3
    /// The bytes of a block.
    package var blockSize: UInt32 = 4096
    /// What is stored, by the index of the block; of a fixed disk, block 0 has it all.
    package var blocks: [Int: Block] = [:]
    /// The unique id.
    package var identity: [UInt8] = Array(1...16)
    /// When it was made.
    package var timeStamp: UInt32 = 700_000_000
    /// Who made it.
    package var creator = "win "
    /// Cylinders, heads, sectors.
    package var geometry: (UInt16, UInt8, UInt8) = (1, 4, 17)
    /// What the parent is called: its unique id, when it was changed, the name in the header.
    package var parent: (identity: [UInt8], timeStamp: UInt32, name: String)?
    /// The locators: their codes and bytes.
    package var locators: [(code: String, bytes: [UInt8])] = []
    /// 512, or 511 as of old.
    package var footerSize = 512
    /// Whether the blocks come in the reverse order.
    package var isReversed = false

    /// A disk of `size` bytes without blocks.
    package init(size: UInt64) {
        self.size = size
    }

    /// A file, and where its parts begin.
    package struct Built: Sendable {
        /// All of it.
        package var bytes: [UInt8]
        /// Where the table begins.
        package var table = 0
        /// Where each block's bitmap begins.
        package var bitmaps: [Int: Int] = [:]
        /// Where the footer begins.
        package var footer = 0
        /// Where the header begins.
        package let header = 512

        /// Writes `value`, big-endian, at `offset`; then the checksums of the footer, its copy and the header are right,
        /// where they are, unless `keepsSums`.
        package mutating func poke(_ value: some FixedWidthInteger, at offset: Int, keepsSums: Bool = false) {
            bytes.putBig(value, at: offset)
            guard !keepsSums else { return }
            for start in Set([0, footer])
            where bytes.count >= start + 512 && bytes[start..<start + 8].elementsEqual("conectix".utf8) {
                VHDBuilder.sum(&bytes, start..<start + 512, at: 64)
            }
            if bytes.count >= header + 1024, bytes[header..<header + 8].elementsEqual("cxsparse".utf8) {
                VHDBuilder.sum(&bytes, header..<header + 1024, at: 36)
            }
        }
    }

    /// The file.
    package func build() -> Built {
        var built = Built(bytes: [])
        let footer = footerBytes()
        guard kind != 2 else {
            built.bytes = Array((blocks[0]?.bytes ?? []).prefix(Int(size)))
            built.bytes += [UInt8](repeating: 0, count: Int(size) - built.bytes.count)
            built.footer = built.bytes.count
            built.bytes += footer.prefix(footerSize)
            return built
        }
        built.bytes = footer + [UInt8](repeating: 0, count: 1024)
        var places: [(offset: Int, count: Int)] = []
        for locator in locators {
            places.append((built.bytes.count, locator.bytes.count))
            built.bytes += locator.bytes
            built.pad(to: 512)
        }
        built.table = built.bytes.count
        let count = Int((size + UInt64(blockSize) - 1) / UInt64(blockSize))
        built.bytes += [UInt8](repeating: 0xff, count: count * 4)
        built.pad(to: 512)
        for index in isReversed ? blocks.keys.sorted().reversed() : blocks.keys.sorted() {
            guard let block = blocks[index] else { continue }
            built.bitmaps[index] = built.bytes.count
            built.bytes.putBig(UInt32(built.bytes.count / 512), at: built.table + index * 4)
            built.bytes += Self.bitmap(block.written)
            built.bytes += block.bytes + [UInt8](repeating: 0, count: Int(blockSize) - block.bytes.count)
        }
        built.footer = built.bytes.count
        built.bytes += footer.prefix(footerSize)
        built.bytes.replaceSubrange(512..<1536, with: headerBytes(table: built.table, count: count, places))
        return built
    }

    /// The bits in whole sectors.
    private static func bitmap(_ bits: [Bool]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: max(1, (bits.count + 4095) / 4096) * 512)
        for (index, bit) in bits.enumerated() where bit { bytes[index / 8] |= 0x80 >> UInt8(index % 8) }
        return bytes
    }

    private func footerBytes() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 512)
        bytes.replaceSubrange(0..<8, with: "conectix".utf8)
        bytes.putBig(UInt32(2), at: 8)
        bytes.putBig(UInt32(0x10000), at: 12)
        bytes.putBig(kind == 2 ? UInt64.max : 512, at: 16)
        bytes.putBig(timeStamp, at: 24)
        bytes.replaceSubrange(28..<32, with: creator.utf8)
        bytes.putBig(UInt32(0xa0000), at: 32)
        bytes.replaceSubrange(36..<40, with: "Wi2k".utf8)
        bytes.putBig(size, at: 40)
        bytes.putBig(size, at: 48)
        bytes.putBig(geometry.0, at: 56)
        bytes[58] = geometry.1
        bytes[59] = geometry.2
        bytes.putBig(kind, at: 60)
        bytes.replaceSubrange(68..<84, with: identity)
        Self.sum(&bytes, 0..<512, at: 64)
        return bytes
    }

    private func headerBytes(table: Int, count: Int, _ places: [(offset: Int, count: Int)]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 1024)
        bytes.replaceSubrange(0..<8, with: "cxsparse".utf8)
        bytes.putBig(UInt64.max, at: 8)
        bytes.putBig(UInt64(table), at: 16)
        bytes.putBig(UInt32(0x10000), at: 24)
        bytes.putBig(UInt32(count), at: 28)
        bytes.putBig(blockSize, at: 32)
        if let parent {
            bytes.replaceSubrange(40..<56, with: parent.identity)
            bytes.putBig(parent.timeStamp, at: 56)
            for (index, unit) in parent.name.utf16.enumerated() { bytes.putBig(unit, at: 64 + 2 * index) }
        }
        for (index, (locator, place)) in zip(locators, places).enumerated() {
            let start = 576 + 24 * index
            bytes.replaceSubrange(start..<start + 4, with: locator.code.utf8)
            bytes.putBig(UInt32(512), at: start + 4)
            bytes.putBig(UInt32(place.count), at: start + 8)
            bytes.putBig(UInt64(place.offset), at: start + 16)
        }
        Self.sum(&bytes, 0..<1024, at: 36)
        return bytes
    }

    /// Writes the checksum of the structure in `range` at its byte `offset`.
    static func sum(_ bytes: inout [UInt8], _ range: Range<Int>, at offset: Int) {
        let place = range.lowerBound + offset
        bytes.putBig(UInt32(0), at: place)
        bytes.putBig(~bytes[range].reduce(UInt32(0)) { $0 &+ UInt32($1) }, at: place)
    }
}

extension VHDBuilder.Built {
    fileprivate mutating func pad(to unit: Int) {
        bytes += [UInt8](repeating: 0, count: (unit - bytes.count % unit) % unit)
    }
}

extension [UInt8] {
    /// Writes `value`, big-endian, at `offset`.
    package mutating func putBig(_ value: some FixedWidthInteger, at offset: Int) {
        Swift.withUnsafeBytes(of: value.bigEndian) { replaceSubrange(offset..<offset + $0.count, with: $0) }
    }
}

extension String {
    /// Its bytes in UTF-16, little-endian, as locators have names.
    package var utf16LittleBytes: [UInt8] { utf16.flatMap { [UInt8($0 & 255), UInt8($0 >> 8)] } }
}
