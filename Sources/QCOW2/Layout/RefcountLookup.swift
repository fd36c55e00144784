import BlockImage
import ByteFormat

/// Looks refcounts up one at a time: docs/interop/qcow2 "Host cluster management". Holds one page of each kind of table,
/// so that neighbours cost nothing. For use by one thread.
final class RefcountLookup {
    private let header: Header
    private let file: any HostFile
    private var tablePage = Page()
    private var blockPage = Page()

    /// Some bytes of the file.
    private struct Page {
        var start: UInt64 = 0
        var bytes: [UInt8] = []
    }

    private static let pageSize: UInt64 = 4096

    /// A look-up in `file`, by its header, whose clusters must be known.
    init(_ header: Header, of file: any HostFile) {
        self.header = header
        self.file = file
    }

    /// The refcounts that one block has.
    var blockEntries: UInt64 { header.refcountFormat.count(clusterSize: header.clusterSize) }

    /// The entries of the refcount table.
    var tableEntries: UInt64 {
        min(UInt64(header.refcountTableClusters) << UInt64(header.clusterBits), Header.refcountTableSizeLimit) / 8
    }

    /// How often the cluster at `offset` is used; nil where the tables are damaged.
    func refcount(of offset: HostOffset) -> UInt64? {
        let cluster = offset.rawValue >> UInt64(header.clusterBits)
        let index = cluster / blockEntries
        guard index < tableEntries else { return 0 }
        let (place, overflow) = header.refcountTableOffset.addingReportingOverflow(index * 8)
        guard !overflow, let entry = bytes(8, at: place, &tablePage) else { return nil }
        let block = entry.reduce(0 as UInt64) { $0 << 8 | UInt64($1) } & RefcountTableEntry.offset.mask
        guard block != 0 else { return 0 }
        guard block % header.clusterSize == 0 else { return nil }
        return refcount(cluster % blockEntries, ofBlockAt: block)
    }

    /// The refcount `index` of the block at `block`; nil where the file does not have it.
    private func refcount(_ index: UInt64, ofBlockAt block: UInt64) -> UInt64? {
        let format = header.refcountFormat
        // The block ends within 64 bits: it begins at a multiple of its size.
        guard let stored = bytes(format.unitSize, at: block + format.unitOffset(of: index), &blockPage) else {
            return nil
        }
        return format.refcount(index, inUnit: stored.reduce(0 as UInt64) { $0 << 8 | UInt64($1) })
    }

    /// `count` bytes, 1 to 8, at `offset`, a multiple of their count.
    private func bytes(_ count: Int, at offset: UInt64, _ page: inout Page) -> ArraySlice<UInt8>? {
        if page.bytes.isEmpty || offset < page.start || offset - page.start >= UInt64(page.bytes.count) {
            let start = offset & ~(Self.pageSize - 1)
            guard start < file.size,
                let read = try? file.bytes(
                    Int(min(Self.pageSize, file.size - start)), at: HostOffset(start), of: "refcounts")
            else { return nil }
            page = Page(start: start, bytes: read)
        }
        let first = Int(offset - page.start)
        guard first + count <= page.bytes.count else { return nil }
        return page.bytes[first..<first + count]
    }
}
