import BlockImage
import ByteFormat
import ClusterMap
import FormatCore

/// What a QCOW image of version 1 says of itself.
struct QCOW1Description: Sendable {
    let header: Header
    /// The backing file's name as stored; nil where there is none.
    let backingFile: [UInt8]?

    /// Reads the header of `file` and what it leads to, the tables excepted. Throws `corrupt` and `truncated` about what is
    /// damaged of that.
    init(_ file: any HostFile) throws(ImageError) {
        let start = try file.bytes(Header.length, at: HostOffset(0), of: "header")
        do throws(ParseFault) {
            var reader = ByteReader(start)
            header = try Header(parsing: &reader)
            if let fault = header.faults.first { throw fault }
        } catch {
            throw ImageError(error, in: file, at: HostOffset(0), of: "header")
        }
        guard header.backingFileOffset != 0, header.backingFileSize != 0 else {
            backingFile = nil
            return
        }
        backingFile = try file.bytes(
            Int(header.backingFileSize), at: HostOffset(header.backingFileOffset), of: "backing file name")
    }
}

/// An entry of an L1 or L2 table.
///
///     L1: the offset of the L2 table; 0: none
///     L2, bit 63 clear: the offset of the host cluster, a multiple of 512; 0: unallocated
///     L2, bit 63 set: the cluster is compressed; the low 63 - cluster_bits bits are the host offset, to the byte, and the
///     bits above them how many bytes it has
struct TableEntries: ClusterEntries {
    private static let compressed: UInt64 = 1 << 63

    /// log2 of the cluster size.
    let clusterBits: UInt64

    func table(of entry: UInt64) throws(ParseFault) -> HostOffset? {
        guard entry <= UInt64(Int64.max) else {
            throw ParseFault(at: 0, "points to \(HostOffset(entry)), where no file reaches")
        }
        return entry == 0 ? nil : HostOffset(entry)
    }

    func place(of entry: UInt64) throws(ParseFault) -> ClusterPlace {
        guard entry & Self.compressed != 0 else {
            guard entry % 512 == 0 else {
                throw ParseFault(at: 0, "points to a cluster at \(HostOffset(entry)), which is no multiple of 512")
            }
            return entry == 0 ? .unallocated : .data(HostOffset(entry))
        }
        let offset = entry & (1 << (63 - clusterBits) - 1)
        let count = entry >> (63 - clusterBits) & (1 << clusterBits - 1)
        guard count > 0 else { throw ParseFault(at: 0, "is of a compressed cluster of no bytes") }
        return .compressed(HostOffset(offset), count: count)
    }
}

extension ClusterMap {
    /// Where the clusters of the image in `file` lie, whose header `header` has no fault.
    init(_ header: Header, of file: any HostFile) {
        @Sendable func decode(_ bytes: RawSpan) -> [UInt64] { decodeTable(bytes, of: UInt64.self, .big) }
        self.init(
            of: file, virtualSize: header.virtualSize, clusterSize: header.clusterSize,
            first: TableLocation(
                file: file, offset: HostOffset(header.l1TableOffset), count: Int(header.l1Size), entrySize: 8,
                name: "L1 table", decode: decode),
            second: SecondTables(count: 1 << Int(header.l2Bits), name: "L2 table", decode: decode),
            entries: TableEntries(clusterBits: UInt64(header.clusterBits)))
    }
}
