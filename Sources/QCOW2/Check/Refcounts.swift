import BlockImage
import ByteFormat

/// The refcounts as the image has them: docs/interop/qcow2 "Host cluster management".
///
/// The refcount table, of at most 8 MiB, is kept in memory; of the refcount blocks as much as lies in 256 pages of 32 KiB,
/// 8 MiB.
struct Refcounts {
    /// The pages that are kept.
    private static let slots: UInt64 = 256

    /// The entries of the refcount table.
    let table: [RefcountTableEntry]
    /// log2 of the clusters whose refcounts one block has.
    let blockBits: UInt64
    /// log2 of the clusters whose refcounts stand in one page, or one block where that is smaller.
    let pageBits: UInt64
    /// The largest refcount.
    let limit: UInt64
    private let format: RefcountFormat
    private let clusterSize: UInt64
    private let file: any HostFile
    private var pages: [(key: UInt64, words: [UInt64])]

    /// Reads the refcount table that `header`, which was checked, names.
    init(_ header: Header, of file: any HostFile) throws(ImageError) {
        self.file = file
        format = header.refcountFormat
        clusterSize = header.clusterSize
        blockBits = UInt64(header.clusterBits) + 3 - format.order
        // A page has 2^12 words of 2^(6 - order) refcounts.
        pageBits = min(blockBits, 12 + 6 - format.order)
        limit = format.limit
        table = try file.words(
            UInt64(header.refcountTableClusters) * header.clusterSize / 8,
            at: header.refcountTableOffset
        ).map { RefcountTableEntry(rawValue: $0) }
        pages = Array(repeating: (.max, []), count: Int(Self.slots))
    }

    /// The refcount block for `cluster`: nil where there is none, and its refcount is 0.
    func block(of cluster: UInt64) -> UInt64? {
        let index = cluster >> blockBits
        guard index < UInt64(table.count) else { return nil }
        let offset = table[Int(index)].blockOffset
        return offset == 0 ? nil : offset
    }

    /// Whether a refcount block can be at `offset`: no file reaches 2^63.
    func canBeBlock(_ offset: UInt64) -> Bool {
        offset % clusterSize == 0 && offset <= UInt64(Int64.max) - clusterSize
    }

    /// The refcount of `cluster`; nil where its block is not where a block can be, so that it is unknown.
    mutating func refcount(of cluster: UInt64) throws(ImageError) -> UInt64? {
        guard let block = block(of: cluster) else { return 0 }
        guard canBeBlock(block) else { return nil }
        let slot = try load(cluster, of: block)
        let index = cluster & (1 << pageBits - 1)
        return format.refcount(index, inWord: pages[slot].words[Int(index >> (6 - format.order))])
    }

    /// Whether all refcounts of the page that has the refcount of `cluster`, whose block is at `block`, are 0.
    mutating func isPageZero(_ cluster: UInt64, of block: UInt64) throws(ImageError) -> Bool {
        let slot = try load(cluster, of: block)
        return pages[slot].words.allSatisfy { $0 == 0 }
    }

    /// The slot of the page that has the refcount of `cluster`.
    private mutating func load(_ cluster: UInt64, of block: UInt64) throws(ImageError) -> Int {
        let key = cluster >> pageBits
        let slot = Int(key % Self.slots)
        if pages[slot].key == key { return slot }
        let first = (cluster & (1 << blockBits - 1)) & ~(1 << pageBits - 1)
        let count: UInt64 = 1 << (pageBits + format.order - 6)
        // A block may be said to be anywhere.
        let offset = HostOffset(block).advanced(by: format.unitOffset(of: first))
        pages[slot] = (key, try file.words(count, at: offset.rawValue))
        return slot
    }
}

extension HostFile {
    /// The `count` 64-bit words at `offset`, at most 2^20: what lies past the end of the file is zeros, as QEMU reads
    /// it. Throws what reading the file throws.
    func words(_ count: UInt64, at offset: UInt64) throws(ImageError) -> [UInt64] {
        let held = size > offset ? min(size - offset, count * 8) : 0
        guard held > 0 else { return Array(repeating: 0, count: Int(count)) }
        let buffer = AlignedBuffer(capacity: Int(count * 8), alignment: 64)
        try buffer.fill(Int(count * 8)) { output throws(ImageError) in
            try read(Int(held), at: HostOffset(offset), into: &output)
            output.appendZeros(Int(count * 8 - held))
        }
        return decodeTable(buffer.bytes, of: UInt64.self, .big)
    }
}

extension Header {
    /// The clusters after the last whose refcounts are looked at: as many as a block of 64 KiB has.
    private static let clustersAfter: UInt64 = 1 << 15

    /// Whether `file`, which holds the image's clusters, was cut inside its last cluster. Only for a last cluster that
    /// holds data or an L2 table: the first L1 table, in which a new image ends, is as long as its entries.
    ///
    /// QEMU and other programs leave the last cluster as short as what was written to it, and then zeros are right. But
    /// they write whole sectors, and what follows that cluster, by the refcounts, is there.
    func isCut(_ file: any HostFile, hasRefcounts: Bool) throws(ImageError) -> Bool {
        guard file.size % clusterSize != 0 else { return false }
        if file.size % 512 != 0 { return true }
        guard hasRefcounts else { return false }
        var refcounts = try Refcounts(self, of: file)
        let first = file.size / clusterSize + 1
        for cluster in first..<first + Self.clustersAfter {
            // An unknown refcount says nothing.
            if let refcount = try refcounts.refcount(of: cluster), refcount > 0 { return true }
        }
        return false
    }
}
