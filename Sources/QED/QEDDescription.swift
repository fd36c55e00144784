import BlockImage
import ByteFormat
import ClusterMap
import FormatCore

/// What a QED image says of itself.
struct QEDDescription: Sendable {
    let header: Header
    /// The backing file's name as stored; nil where there is none.
    let backingFile: [UInt8]?

    /// Reads the header of `file` and the backing file's name. Throws `corrupt` and `truncated` about what is damaged of that.
    init(_ file: any HostFile) throws(ImageError) {
        let start = try file.bytes(Header.length, at: HostOffset(0), of: "header")
        do throws(ParseFault) {
            var reader = ByteReader(start)
            header = try Header(parsing: &reader)
            if let fault = header.faults.first { throw fault }
        } catch {
            throw ImageError(error, in: file, at: HostOffset(0), of: "header")
        }
        guard header.features.contains(.backingFile), header.backingNameSize > 0 else {
            backingFile = nil
            return
        }
        backingFile = try file.bytes(
            Int(header.backingNameSize), at: HostOffset(UInt64(header.backingNameOffset)), of: "backing file name")
    }
}

/// An entry of an L1 or L2 table: the offset of an L2 table or a cluster; 0: none; in an L2 table, 1: a cluster of zeros.
struct TableEntries: ClusterEntries {
    let header: Header

    func table(of entry: UInt64) throws(ParseFault) -> HostOffset? {
        guard entry != 0 else { return nil }
        guard header.isTable(entry) else { throw misplaced(entry) }
        return HostOffset(entry)
    }

    func place(of entry: UInt64) throws(ParseFault) -> ClusterPlace {
        if entry == 0 { return .unallocated }
        if entry == 1 { return .zero }
        guard header.isTable(entry) else { throw misplaced(entry) }
        return .data(HostOffset(entry))
    }

    private func misplaced(_ offset: UInt64) -> ParseFault {
        ParseFault(
            at: 0,
            "points to \(HostOffset(offset)), which is no multiple of cluster_size (\(header.clusterSize)) behind the header"
        )
    }
}

extension ClusterMap {
    /// Where the clusters of the image in `file` lie, whose header `header` has no fault.
    init(_ header: Header, of file: any HostFile) {
        @Sendable func decode(_ bytes: RawSpan) -> [UInt64] { decodeTable(bytes, of: UInt64.self, .little) }
        self.init(
            of: file, virtualSize: header.imageSize, clusterSize: UInt64(header.clusterSize),
            first: TableLocation(
                file: file, offset: HostOffset(header.l1TableOffset), count: header.entriesOfTable, entrySize: 8,
                name: "L1 table", decode: decode),
            second: SecondTables(count: header.entriesOfTable, name: "L2 table", decode: decode),
            entries: TableEntries(header: header))
    }
}
