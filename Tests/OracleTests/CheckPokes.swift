import Foundation
import TestImages

/// A QCOW2 image that qemu-img made, in memory, to be damaged at places that its own structures lead to.
struct PokedImage {
    var bytes: [UInt8]

    init(_ path: String) throws {
        bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    func read<Value: FixedWidthInteger>(_ offset: UInt64, as: Value.Type = UInt64.self) -> Value {
        let size = Value.bitWidth / 8
        return bytes[Int(offset)..<Int(offset) + size].reduce(0) { $0 << 8 | Value($1) }
    }

    mutating func write(_ value: some FixedWidthInteger, at offset: UInt64) {
        let new = withUnsafeBytes(of: value.bigEndian) { Array($0) }
        bytes.replaceSubrange(Int(offset)..<Int(offset) + new.count, with: new)
    }

    var clusterSize: UInt64 { 1 << UInt64(read(20, as: UInt32.self)) }
    var l1: UInt64 { read(40) }
    var refcountTable: UInt64 { read(48) }
    var refcountBlock: UInt64 { read(refcountTable) & ~511 }
    var snapshots: UInt64 { read(64) }
    /// The first L2 table that the active L1 table names.
    var l2: UInt64 { offset(firstEntry(of: l1)) }
    /// The bytes of an L2 entry.
    var entrySize: UInt64 { read(72) & 16 == 0 || read(4, as: UInt32.self) == 2 ? 8 : 16 }

    /// The place of the first entry of a table at `table` that is not 0, `skip` of these passed over.
    func firstEntry(of table: UInt64, skipping skip: Int = 0, step: UInt64 = 8, flag: UInt64 = .max) -> UInt64 {
        var position = table
        var left = skip
        while true {
            if read(position) & flag != 0 {
                if left == 0 { return position }
                left -= 1
            }
            position += step
        }
    }

    /// The offset in the entry at `place`.
    func offset(_ place: UInt64) -> UInt64 { read(place) & 0x00ff_ffff_ffff_fe00 }

    /// The L2 entry of a data cluster, `skip` of them passed over.
    func data(_ skip: Int = 0) -> UInt64 {
        var position = l2
        var left = skip
        while true {
            let entry = read(position)
            if entry & (1 << 62) == 0, entry & ~(1 << 63 | 1) != 0 {
                if left == 0 { return position }
                left -= 1
            }
            position += entrySize
        }
    }

    /// The L2 entry of a compressed cluster.
    var compressed: UInt64 { firstEntry(of: l2, step: entrySize, flag: 1 << 62) }

    /// Where the data of the header extension `type` lies.
    func headerExtension(_ type: UInt32) -> UInt64 {
        var position = UInt64(read(100, as: UInt32.self))
        while read(position, as: UInt32.self) != type {
            position += 8 + (UInt64(read(position + 4, as: UInt32.self)) + 7) & ~7
        }
        return position + 8
    }

    /// Where the entry of the first bitmap lies in its directory.
    var bitmapEntry: UInt64 { read(headerExtension(0x2385_2875) + 16) }
    /// Where the table of the first bitmap lies.
    var bitmapTable: UInt64 { read(bitmapEntry) }
    var endCluster: UInt64 { (UInt64(bytes.count) + clusterSize - 1) / clusterSize * clusterSize }
}

/// One damage: its name, and what it changes.
struct Poke: Sendable {
    var name: String
    var change: @Sendable (inout PokedImage) -> Void

    init(_ name: String, _ change: @escaping @Sendable (inout PokedImage) -> Void) {
        self.name = name
        self.change = change
    }

    /// Damages for which this program and qemu-img count the same.
    static let agreed: [Poke] = [
        Poke("a leak: a data cluster's entry is gone") { $0.write(UInt64(0), at: $0.data(2)) },
        Poke("two leaks") {
            $0.write(UInt64(0), at: $0.data(2))
            $0.write(UInt64(0), at: $0.data(3))
        },
        Poke("a cluster used twice") { $0.write($0.read($0.data(1)), at: $0.data(2)) },
        Poke("data in the refcount table") {
            $0.write($0.refcountTable | 1 << 63, at: $0.data(1))
        },
        Poke("data in the header") {
            // The offset would be 0, which is no cluster, so that the L1 table's is taken.
            $0.write($0.l1 | 1 << 63, at: $0.data(1))
        },
        Poke("COPIED missing in L2") { $0.write($0.read($0.data(1)) & ~(1 << 63), at: $0.data(1)) },
        Poke("COPIED missing in L1") {
            let place = $0.firstEntry(of: $0.l1)
            $0.write($0.read(place) ^ 1 << 63, at: place)
        },
        Poke("COPIED of all clusters missing") { image in
            for index in 0..<6 { image.write(image.read(image.data(index)) & ~(1 << 63), at: image.data(index)) }
        },
        Poke("data behind the end of the file") {
            $0.write($0.endCluster + $0.clusterSize | 1 << 63, at: $0.data(1))
        },
        Poke("data right behind the last cluster") { $0.write($0.endCluster | 1 << 63, at: $0.data(1)) },
        Poke("data at the end of all offsets") { $0.write(0x80ff_ffff_ffff_0000 as UInt64, at: $0.data(1)) },
        Poke("an L2 table behind the end of the file") {
            $0.write($0.endCluster * 4 | 1 << 63, at: $0.firstEntry(of: $0.l1))
        },
        Poke("a data cluster that is not aligned") { $0.write($0.read($0.data(1)) + 512, at: $0.data(1)) },
        Poke("the last data cluster, not aligned") { image in
            image.write(image.endCluster - image.clusterSize + 512 | 1 << 63, at: image.data(1))
        },
        Poke("an L2 table that is not aligned") {
            let place = $0.firstEntry(of: $0.l1)
            $0.write($0.read(place) + 512, at: place)
        },
        Poke("reserved bits in L2") { $0.write($0.read($0.data(1)) | 1 << 60 | 1 << 5, at: $0.data(1)) },
        Poke("reserved bits in L1") {
            let place = $0.firstEntry(of: $0.l1)
            $0.write($0.read(place) | 1 << 58 | 3, at: place)
        },
        Poke("an L1 entry of flags alone") {
            $0.write(1 << 63 as UInt64, at: $0.l1 + UInt64($0.read(36, as: UInt32.self) - 1) * 8)
        },
        Poke("a refcount of 0") { $0.write(UInt64(0), at: $0.refcountBlock) },
        Poke("refcounts that are random") { $0.write(0x1234_5678_9abc_def0 as UInt64, at: $0.refcountBlock + 8) },
        Poke("refcounts of what is past the end of the file") {
            $0.write(UInt64.max, at: $0.refcountBlock + $0.clusterSize - 8)
        },
        Poke("no refcount block") { $0.write(UInt64(0), at: $0.refcountTable) },
        Poke("reserved bits in the refcount table") { $0.write($0.read($0.refcountTable) | 1, at: $0.refcountTable) },
        Poke("a refcount block that is not aligned") {
            $0.write($0.refcountBlock + 512, at: $0.refcountTable)
        },
        Poke("a refcount block behind the end of the file") {
            $0.write($0.endCluster * 8, at: $0.refcountTable)
        },
        Poke("a second refcount block behind the end of the file") {
            $0.write($0.endCluster * 8, at: $0.refcountTable + $0.clusterSize - 8)
        },
        Poke("a refcount block beyond 2^63") { $0.write(1 << 63 as UInt64, at: $0.refcountTable) },
        Poke("a refcount block that is data") {
            $0.write($0.offset($0.data(1)), at: $0.refcountTable + $0.clusterSize - 8)
        },
        Poke("two refcount blocks in one cluster") {
            $0.write($0.refcountBlock, at: $0.refcountTable + $0.clusterSize - 8)
        },
        Poke("an L1 table that is data") { image in
            image.write(image.offset(image.data(4)), at: 40)
        },
        Poke("a snapshot of nothing more") { $0.write(UInt32(0), at: 60) },
        Poke("the corrupt bit") { if $0.read(4, as: UInt32.self) > 2 { $0.write($0.read(72) | 2, at: 72) } },
        Poke("the dirty bit, and a leak") {
            if $0.read(4, as: UInt32.self) > 2 { $0.write($0.read(72) | 1, at: 72) }
            $0.write(UInt64(0), at: $0.data(2))
        },
        Poke("a file that was cut inside its last cluster") { $0.bytes.removeLast(100) },
        Poke("a file that lost four clusters") { $0.bytes.removeLast(4 * Int($0.clusterSize)) },
        Poke("a file with a tail") { $0.bytes += Array(repeating: 0, count: 3 * Int($0.clusterSize) + 7) },
    ]

    /// The same for images with snapshots.
    static let ofSnapshots: [Poke] = [
        Poke("a snapshot's L1 table that is not aligned") { $0.write($0.read($0.snapshots) + 512, at: $0.snapshots) },
        Poke("a snapshot's L1 table that is too large") {
            $0.write(UInt32(0x0100_0000), at: $0.snapshots + 8)
        },
        Poke("a snapshot's L1 table behind the end of the file") {
            $0.write($0.endCluster * 2, at: $0.snapshots)
        },
        Poke("a snapshot whose L1 table is the active one") { $0.write($0.l1, at: $0.snapshots) },
        Poke("two snapshots with one L1 table") { image in
            let ids =
                UInt64(image.read(image.snapshots + 12, as: UInt16.self))
                + UInt64(image.read(image.snapshots + 14, as: UInt16.self))
                + UInt64(image.read(image.snapshots + 36, as: UInt32.self))
            let second = image.snapshots + (40 + ids + 7) & ~7
            image.write(image.read(image.snapshots), at: second)
        },
        Poke("reserved bits in a snapshot's L2 table") { image in
            let l2 = image.offset(image.firstEntry(of: image.read(image.snapshots)))
            let place = image.firstEntry(of: l2, step: image.entrySize)
            image.write(image.read(place) | 1 << 59, at: place)
        },
        Poke("COPIED where a snapshot shares the cluster") { image in
            image.write(image.read(image.data(9)) ^ 1 << 63, at: image.data(9))
        },
        Poke("too little extra data") { image in
            if image.read(4, as: UInt32.self) > 2 {
                // Twelve bytes of it become the beginning of the ID, which grows by as much.
                let extra = image.read(image.snapshots + 36, as: UInt32.self)
                let id = image.read(image.snapshots + 12, as: UInt16.self)
                image.write(UInt32(12), at: image.snapshots + 36)
                image.write(id + UInt16(extra - 12), at: image.snapshots + 12)
            }
        },
    ]

    /// The same for images with compressed clusters.
    static let ofCompressed: [Poke] = [
        Poke("COPIED of a compressed cluster") { $0.write($0.read($0.compressed) | 1 << 63, at: $0.compressed) },
        Poke("compressed data behind the end of the file") {
            $0.write($0.read($0.compressed) | 1 << 40, at: $0.compressed)
        },
        Poke("compressed data that takes more sectors") {
            $0.write($0.read($0.compressed) | 1 << 61, at: $0.compressed)
        },
        Poke("a compressed cluster that is gone") { $0.write(UInt64(0), at: $0.compressed) },
    ]

    /// The same for images with bitmaps.
    static let ofBitmaps: [Poke] = [
        Poke("a bitmap's bits behind the end of the file") {
            $0.write(UInt32(1), at: $0.bitmapEntry + 12)
            $0.write($0.endCluster * 2, at: $0.bitmapTable)
        },
        Poke("a bitmap's bits in the L1 table") { $0.write($0.l1, at: $0.bitmapTable) },
        Poke("bitmaps that are not marked as valid") { $0.write(UInt64(0), at: 88) },
        Poke("a bitmap that was not saved") { $0.write(UInt32(1), at: $0.bitmapEntry + 12) },
    ]
}
