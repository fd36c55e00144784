import BlockImage
import Foundation
import HostTools
import Synchronization

/// Makes VHDX files field by field, as MS-VHDX has them, for tests: also those that qemu-img does not make.
package struct VHDXBuilder: Sendable {
    /// What a block of the disk is.
    package enum Block: Hashable, Sendable {
        /// An entry with this state and no place.
        case state(UInt64)
        /// All of it, of patterned sectors with this salt.
        case present(salt: UInt64)
        /// The sectors for which the bitmap has a bit, likewise.
        case partial(salt: UInt64, sectors: [Bool])
    }

    /// A write that the log has.
    package enum LogWrite: Sendable {
        /// 4 KiB at an offset of the file.
        case data([UInt8], at: UInt64)
        /// So many zeros.
        case zeros(UInt64, at: UInt64)
    }

    package var virtualSize: UInt64
    package var blockSize: UInt64 = 1 << 20
    package var sectorSize: UInt64 = 512
    package var physicalSectorSize: UInt64 = 4096
    package var blocks: [UInt64: Block] = [:]
    package var keepsBlocks = false
    package var creator = "test"
    /// The texts as GUIDs of Windows write them.
    package var fileWriteID = UUID(uuidString: "10000000-0000-4000-8000-000000000001")!
    package var dataWriteID = UUID(uuidString: "20000000-0000-4000-8000-000000000002")!
    package var diskID = UUID(uuidString: "30000000-0000-4000-8000-000000000003")!
    package var logID: UUID?
    package var logLength: UInt64 = 1 << 20
    /// The parent locator: keys and values; nil for a disk without a parent.
    package var parent: [(key: String, value: String)]?
    /// More metadata items: identifier, flags, bytes.
    package var items: [(id: UUID, flags: UInt32, bytes: [UInt8])] = []
    /// More regions: identifier, flags.
    package var regions: [(id: UUID, flags: UInt32)] = []

    /// A disk of `virtualSize` bytes without blocks.
    package init(virtualSize: UInt64) {
        self.virtualSize = virtualSize
    }

    /// Where the parts lie: as Hyper-V has them.
    package static let logOffset: UInt64 = 1 << 20
    package var metadataOffset: UInt64 { Self.logOffset + logLength }
    package var tableOffset: UInt64 { metadataOffset + 1 << 20 }
    package var tableLength: UInt64 { (entryCount * 8 + 0xf_ffff) & ~0xf_ffff }
    package var dataOffset: UInt64 { tableOffset + max(tableLength, 1 << 20) }

    package var chunkRatio: UInt64 { (1 << 23) * sectorSize / blockSize }
    package var blockCount: UInt64 { (virtualSize + blockSize - 1) / blockSize }
    private var entryCount: UInt64 { (blockCount + chunkRatio - 1) / chunkRatio * (chunkRatio + 1) }
    /// Which entry of the BAT the block `block` has.
    package func entryIndex(_ block: UInt64) -> UInt64 { block + block / chunkRatio }
    /// Where in the file the entry of `block` lies.
    package func entryOffset(_ block: UInt64) -> UInt64 { tableOffset + entryIndex(block) * 8 }

    /// The file, and the disk by its blocks: what `parent` has where the file says nothing.
    package func build() -> Pages {
        var pages = Pages(size: dataOffset)
        writeHeaders(to: &pages)
        writeMetadata(to: &pages)
        var bitmaps: [UInt64: [UInt8]] = [:]
        var next = dataOffset
        for (block, content) in blocks.sorted(by: { $0.key < $1.key }) {
            var entry: UInt64
            switch content {
            case .state(let state): entry = state
            case .present(let salt):
                entry = next | 6
                pages.write(Self.content(of: block, size: blockSize, sectorSize, salt: salt), at: next)
                next += blockSize
            case .partial(let salt, let sectors):
                entry = next | 7
                let bytes = Self.content(of: block, size: blockSize, sectorSize, salt: salt)
                let chunk = block / chunkRatio
                let first = Int(block % chunkRatio * (blockSize / sectorSize))
                for (index, isOwn) in sectors.enumerated() where isOwn {
                    let start = index * Int(sectorSize)
                    pages.write(Array(bytes[start..<start + Int(sectorSize)]), at: next + UInt64(start))
                    let bit = first + index
                    bitmaps[chunk, default: Array(repeating: 0, count: 1 << 20)][bit / 8] |= 1 << (bit % 8)
                }
                pages.size = max(pages.size, next + blockSize)
                bitmaps[chunk, default: Array(repeating: 0, count: 1 << 20)][first / 8] |= 0
                next += blockSize
            }
            pages.write(entry.littleEndianBytes, at: entryOffset(block))
        }
        for (chunk, bitmap) in bitmaps.sorted(by: { $0.key < $1.key }) {
            pages.write(bitmap, at: next)
            pages.write((next | 6).littleEndianBytes, at: tableOffset + (chunk * (chunkRatio + 1) + chunkRatio) * 8)
            next += 1 << 20
        }
        return pages
    }

    /// The disk, which must be small, over `parent`.
    package func disk(over parent: [UInt8] = []) -> [UInt8] {
        var disk = [UInt8](repeating: 0, count: Int(virtualSize))
        if self.parent != nil {
            disk.replaceSubrange(0..<min(parent.count, disk.count), with: parent.prefix(disk.count))
        }
        for (block, content) in blocks {
            let start = Int(block * blockSize)
            let count = min(Int(blockSize), disk.count - start)
            switch content {
            case .state(0): break
            case .state: disk.replaceSubrange(start..<start + count, with: repeatElement(0, count: count))
            case .present(let salt):
                let bytes = Self.content(of: block, size: blockSize, sectorSize, salt: salt)
                disk.replaceSubrange(start..<start + count, with: bytes.prefix(count))
            case .partial(let salt, let sectors):
                let bytes = Self.content(of: block, size: blockSize, sectorSize, salt: salt)
                for (index, isOwn) in sectors.enumerated() where isOwn && index * Int(sectorSize) < count {
                    let first = index * Int(sectorSize)
                    disk.replaceSubrange(
                        start + first..<start + first + Int(sectorSize), with: bytes[first..<first + Int(sectorSize)])
                }
            }
        }
        return disk
    }

    /// The bytes of the block `block`: each sector of 512 bytes tells where it belongs. Those that were made are kept, since
    /// many tests have the same.
    package static func content(of block: UInt64, size: UInt64, _ sectorSize: UInt64, salt: UInt64) -> [UInt8] {
        let key = [block, size, salt]
        if let bytes = contents.withLock({ $0[key] }) { return bytes }
        let first = block * (size / 512)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(size))
        for sector in first..<first + size / 512 { bytes += Pattern.sector(sector, salt: salt) }
        contents.withLock { $0[key] = bytes }
        return bytes
    }

    private static let contents = Mutex<[[UInt64]: [UInt8]]>([:])

    /// A header with its check sum.
    package func header(sequenceNumber: UInt64) -> [UInt8] {
        var bytes = Array("head".utf8) + [0, 0, 0, 0] + sequenceNumber.littleEndianBytes
        for id in [fileWriteID, dataWriteID] { bytes += id.guidBytes }
        bytes += logID?.guidBytes ?? Array(repeating: 0, count: 16)
        bytes += [0, 0, 1, 0] + UInt32(logLength).littleEndianBytes + Self.logOffset.littleEndianBytes
        bytes += repeatElement(0, count: 4096 - bytes.count)
        return Self.summed(bytes)
    }

    private func writeHeaders(to pages: inout Pages) {
        let text = creator.utf16.flatMap { $0.littleEndianBytes }
        pages.write(Array("vhdxfile".utf8) + text, at: 0)
        for number in 1...2 as ClosedRange<UInt64> { pages.write(header(sequenceNumber: number), at: number << 16) }
        var table = Array("regi".utf8) + [0, 0, 0, 0] + UInt32(2 + regions.count).littleEndianBytes + [0, 0, 0, 0]
        func add(_ id: UUID, _ offset: UInt64, _ length: UInt64, _ flags: UInt32) {
            table +=
                id.guidBytes + offset.littleEndianBytes + UInt32(length).littleEndianBytes + flags.littleEndianBytes
        }
        add(UUID(uuidString: "2DC27766-F623-4200-9D64-115E9BFD4A08")!, tableOffset, max(tableLength, 1 << 20), 1)
        add(UUID(uuidString: "8B7CA206-4790-4B9A-B8FE-575F050F886E")!, metadataOffset, 1 << 20, 1)
        for region in regions { add(region.id, 1 << 40, 1 << 20, region.flags) }
        table += repeatElement(0, count: 65536 - table.count)
        for offset in [3, 4] as [UInt64] { pages.write(Self.summed(table), at: offset << 16) }
    }

    private func writeMetadata(to pages: inout Pages) {
        var items: [(id: UUID, flags: UInt32, bytes: [UInt8])] = [
            (
                UUID(uuidString: "CAA16737-FA36-4D43-B3B6-33F0AA44E76B")!, 4,
                UInt32(blockSize).littleEndianBytes
                    + UInt32((keepsBlocks ? 1 : 0) | (parent == nil ? 0 : 2)).littleEndianBytes
            ),
            (UUID(uuidString: "2FA54224-CD1B-4876-B211-5DBED83BF4B8")!, 6, virtualSize.littleEndianBytes),
            (UUID(uuidString: "BECA12AB-B2E6-4523-93EF-C309E000C746")!, 6, diskID.guidBytes),
            (UUID(uuidString: "8141BF1D-A96F-4709-BA47-F233A8FAAB5F")!, 6, UInt32(sectorSize).littleEndianBytes),
            (
                UUID(uuidString: "CDA348C7-445D-4471-9CC9-E9885251C556")!, 6,
                UInt32(physicalSectorSize).littleEndianBytes
            ),
        ]
        if let parent {
            items.append((UUID(uuidString: "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")!, 4, Self.locator(parent)))
        }
        items += self.items
        var table = Array("metadata".utf8) + [0, 0] + UInt16(items.count).littleEndianBytes
        table += repeatElement(0, count: 20)
        var offset: UInt32 = 65536
        for item in items {
            table += item.id.guidBytes + offset.littleEndianBytes + UInt32(item.bytes.count).littleEndianBytes
            table += item.flags.littleEndianBytes + [0, 0, 0, 0]
            pages.write(item.bytes, at: metadataOffset + UInt64(offset))
            offset += UInt32(item.bytes.count)
        }
        pages.write(table, at: metadataOffset)
    }

    private static func locator(_ entries: [(key: String, value: String)]) -> [UInt8] {
        var bytes = UUID(uuidString: "B04AEFB7-D19E-4A81-B789-25B8E9445913")!.guidBytes + [0, 0]
        bytes += UInt16(entries.count).littleEndianBytes
        var texts: [UInt8] = []
        let start = bytes.count + 12 * entries.count
        for (key, value) in entries {
            let (key, value) = (key.utf16.flatMap(\.littleEndianBytes), value.utf16.flatMap(\.littleEndianBytes))
            let place = start + texts.count
            bytes += UInt32(place).littleEndianBytes + UInt32(place + key.count).littleEndianBytes
            bytes += UInt16(key.count).littleEndianBytes + UInt16(value.count).littleEndianBytes
            texts += key + value
        }
        return bytes + texts
    }
}

// MARK: The log

extension VHDXBuilder {
    /// An entry of the log with the number `sequenceNumber`, which needs those from `tail` of the log on.
    package func logEntry(
        _ writes: [LogWrite], sequenceNumber: UInt64, tail: UInt64, flushed: UInt64? = nil, last: UInt64
    ) -> [UInt8] {
        let descriptorSectors = (writes.count + 2 + 127) / 128
        var descriptors: [UInt8] = []
        var data: [UInt8] = []
        for write in writes {
            switch write {
            case .data(let bytes, let offset):
                descriptors += Array("desc".utf8) + bytes[4092...] + bytes[..<8]
                descriptors += offset.littleEndianBytes + sequenceNumber.littleEndianBytes
                data += Array("data".utf8) + UInt32(sequenceNumber >> 32).littleEndianBytes + bytes[8..<4092]
                data += UInt32(truncatingIfNeeded: sequenceNumber).littleEndianBytes
            case .zeros(let count, let offset):
                descriptors += Array("zero".utf8) + [0, 0, 0, 0] + count.littleEndianBytes
                descriptors += offset.littleEndianBytes + sequenceNumber.littleEndianBytes
            }
        }
        let length = descriptorSectors * 4096 + data.count
        var entry = Array("loge".utf8) + [0, 0, 0, 0] + UInt32(length).littleEndianBytes
        entry += UInt32(tail).littleEndianBytes + sequenceNumber.littleEndianBytes
        entry += UInt32(writes.count).littleEndianBytes + [0, 0, 0, 0] + (logID?.guidBytes ?? [])
        entry += (flushed ?? dataOffset).littleEndianBytes + last.littleEndianBytes + descriptors
        entry += repeatElement(0, count: descriptorSectors * 4096 - entry.count)
        return Self.summed(entry + data)
    }

    /// Writes `bytes`, an entry or a part of one, to the log at `position`, from whose end it goes on at its start.
    package func put(_ bytes: [UInt8], at position: UInt64, of pages: inout Pages) {
        let first = Int(min(UInt64(bytes.count), logLength - position))
        pages.write(Array(bytes[..<first]), at: Self.logOffset + position)
        pages.write(Array(bytes[first...]), at: Self.logOffset)
    }

    /// The sums of single bytes.
    private static let sums: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { sum, _ in sum & 1 == 1 ? sum >> 1 ^ 0x82f6_3b78 : sum >> 1 }
    }

    /// `bytes` with their check sum in the second four.
    package static func summed(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        bytes.replaceSubrange(4..<8, with: [0, 0, 0, 0])
        var sum = UInt32.max
        let table = sums
        for byte in bytes { sum = sum >> 8 ^ table[Int((sum ^ UInt32(byte)) & 0xff)] }
        bytes.replaceSubrange(4..<8, with: (~sum).littleEndianBytes)
        return bytes
    }
}

extension FixedWidthInteger {
    /// Its bytes, the lowest first.
    package var littleEndianBytes: [UInt8] { withUnsafeBytes(of: littleEndian) { Array($0) } }
}

extension UUID {
    /// Its bytes as a GUID of Windows has them.
    package var guidBytes: [UInt8] {
        let bytes = withUnsafeBytes(of: uuid) { Array($0) }
        return [3, 2, 1, 0, 5, 4, 7, 6].map { bytes[$0] } + bytes[8...]
    }
}
