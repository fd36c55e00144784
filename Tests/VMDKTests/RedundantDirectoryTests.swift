import BlockImage
import TestImages
import Testing

@testable import VMDK

@Suite struct `The redundant grain directory` {
    /// Three tables of 16 grains of 8 KiB each. Sectors: 21 directory, 22 redundant directory, 23 to 25 tables, and 26 to
    /// 28 the copies of these, which the redundant directory leads to.
    static let image: SparseImage = {
        var image = SparseImage(capacity: 48 * 16, tableEntryCount: 16, flags: 3)
        image.grains = (0..<48).map { [.data, .absent, .data][$0 % 3] }
        return image
    }()

    static func build() -> [UInt8] {
        var bytes = image.build().bytes
        let grains = Array(bytes[26 * 512..<bytes.count])
        let tables = Array(bytes[23 * 512..<26 * 512])
        bytes = bytes[..<(26 * 512)] + tables + grains
        for table in 0..<3 {
            bytes.put(UInt32(26 + table), at: 22 * 512 + table * 4)
            for entry in 0..<16 where image.grains[table * 16 + entry] == .data {
                for place in [23 + table, 26 + table].map({ $0 * 512 + entry * 4 }) {
                    let sector = UInt32(bytes[place]) | UInt32(bytes[place + 1]) << 8
                    bytes.put(sector + 3, at: place)
                }
            }
        }
        return bytes
    }

    static let tail = "; the grain table of the redundant grain directory is read instead"
    static let noDescriptor = "memory.img: the sparse extent has no descriptor, so it is taken for a whole disk"

    private func notes(of layer: VMDKLayer) -> [String] {
        layer.notes.map(\.description).filter { $0 != Self.noDescriptor }
    }

    @Test func `is not looked at where the first is good`() throws {
        var bytes = Self.build()
        for index in 22 * 512..<23 * 512 { bytes[index] = 0xee }
        let layer = try openLayer(MemoryFile(bytes))
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(notes(of: layer) == [])
    }

    @Test func `leads to a table that the first has outside the file, which is noted when it is read`() throws {
        var bytes = Self.build()
        bytes.put(UInt32(100_000), at: 21 * 512 + 4)
        let layer = try openLayer(MemoryFile(bytes))
        #expect(notes(of: layer) == [])
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(
            notes(of: layer) == [
                "memory.img: at 0x2a04: grain directory entry 1: points to a grain table at 0x30d4000, which must lie "
                    + "in the file, but that ends at \(HostOffset(UInt64(bytes.count)))\(Self.tail)"
            ])
        // Without the flag, what stands there means nothing.
        bytes.put(UInt32(1), at: 8)
        let error = imageError { () throws(ImageError) in _ = try Image(layer: openLayer(MemoryFile(bytes))).wholeDisk()
        }
        #expect(error?.code == .truncated && error?.offset == HostOffset(0x2a04))
    }

    @Test func `leads to a table that cannot be read through the first`() throws {
        let layer = try openLayer(FaultyFile(Self.build(), bad: [23 * 512..<23 * 512 + 4]))
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(notes(of: layer) == ["memory.img: at 0x2e00: read: Input/output error\(Self.tail)"])
    }

    @Test func `is read where the first cannot be`() throws {
        let layer = try openLayer(FaultyFile(Self.build(), bad: [21 * 512..<22 * 512]))
        #expect(try Image(layer: layer).wholeDisk() == Self.image.disk)
        #expect(
            notes(of: layer) == [
                "memory.img: at 0x2a00: read: Input/output error; the redundant grain directory is read instead"
            ])
    }

    @Test func `does not help where it is as bad: the first one's error holds`() throws {
        var bytes = Self.build()
        bytes.put(UInt32(100_000), at: 21 * 512)
        for entry in [UInt32(0), 100_001] {
            bytes.put(entry, at: 22 * 512)
            let layer = try openLayer(MemoryFile(bytes))
            let error = imageError { () throws(ImageError) in _ = try Image(layer: layer).bytes(1, at: 0) }
            #expect(error?.code == .truncated)
            #expect(error?.offset == HostOffset(21 * 512))
            #expect(notes(of: layer) == [])
        }
        let both = try openLayer(FaultyFile(Self.build(), bad: [21 * 512..<23 * 512]))
        let error = imageError { () throws(ImageError) in _ = try Image(layer: both).bytes(1, at: 0) }
        #expect(
            error
                == ImageError(
                    .system(errno: 5), path: "memory.img", offset: HostOffset(21 * 512), "read: Input/output error"))
    }

    @Test func `does not hide a bad entry of a grain table`() throws {
        var bytes = Self.build()
        bytes.put(UInt32(1), at: 23 * 512)
        let error = imageError { () throws(ImageError) in
            _ = try Image(layer: openLayer(MemoryFile(bytes))).bytes(1, at: 0)
        }
        #expect(error?.code == .corrupt)
    }

    @Test func `is said of in at most 16 sentences, each once`() throws {
        var image = SparseImage(capacity: 40, grainSize: 1, tableEntryCount: 1, flags: 3)
        image.grains = Array(repeating: .data, count: 40)
        var bytes = image.build().bytes
        for index in 0..<40 { bytes.put(UInt32(100_000 + index), at: 21 * 512 + index * 4) }
        let layer = try openLayer(MemoryFile(bytes))
        #expect(try Image(layer: layer).wholeDisk() == image.disk)
        #expect(notes(of: layer).count == 16)
        #expect(Set(notes(of: layer)).count == 16)
    }
}
