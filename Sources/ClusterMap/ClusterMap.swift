import BlockImage
import ByteFormat

/// What a format's table entries say. All are 64-bit integers here, whatever the file has. Any thread may call any method.
public protocol ClusterEntries: Sendable {
    /// How the cluster of `entry`, in the last table, is stored. Throws a message of what is wrong with the entry, at 0.
    func place(of entry: UInt64) throws(ParseFault) -> ClusterPlace
    /// Where the second table lies that `entry` of the first names; nil for none. Throws likewise.
    func table(of entry: UInt64) throws(ParseFault) -> HostOffset?
}

extension ClusterEntries {
    /// For formats with one table.
    public func table(of entry: UInt64) throws(ParseFault) -> HostOffset? { nil }
}

/// How a cluster of a disk is stored.
public enum ClusterPlace: Hashable, Sendable {
    /// Not in this image.
    case unallocated
    /// All zeros.
    case zero
    /// Byte for byte, or encrypted, in the host cluster at this offset.
    case data(HostOffset)
    /// In `count` bytes from the offset on.
    case compressed(HostOffset, count: UInt64)
}

/// Where the clusters of a disk lie in its file: by one table of them, or by a table of tables; for formats that have nothing
/// more to it, as QCOW of version 1, QED and Parallels.
public struct ClusterMap: Sendable {
    /// The tables that the entries of the first one name.
    public struct SecondTables: Sendable {
        /// How many entries each of them has.
        public var count: Int
        /// What they are called: "L2 table".
        public var name: String
        /// Makes entries of the bytes of any whole number of them.
        public var decode: @Sendable (RawSpan) -> [UInt64]

        /// Tables of `count` entries called `name`, of 8 bytes each.
        public init(count: Int, name: String, decode: @escaping @Sendable (RawSpan) -> [UInt64]) {
            self.count = count
            self.name = name
            self.decode = decode
        }
    }

    /// The image.
    public let file: any HostFile
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    /// The bytes of a cluster; at least 512.
    public let clusterSize: UInt64
    /// The first table, or the only one. It may have more entries than the disk needs, or fewer.
    public let first: TableLocation
    /// The tables under it; nil: its own entries are those of clusters.
    public let second: SecondTables?
    /// What the entries say.
    public let entries: any ClusterEntries

    /// The map of the disk of `virtualSize` bytes in `file`.
    public init(
        of file: any HostFile, virtualSize: UInt64, clusterSize: UInt64, first: TableLocation, second: SecondTables?,
        entries: any ClusterEntries
    ) {
        self.file = file
        self.virtualSize = virtualSize
        self.clusterSize = clusterSize
        self.first = first
        self.second = second
        self.entries = entries
    }

    /// The clusters of the disk.
    public var clusterCount: UInt64 { virtualSize / clusterSize + (virtualSize % clusterSize == 0 ? 0 : 1) }

    /// The bytes of the disk that one entry of the first table is for, at most 2^63.
    public var coverage: UInt64 {
        let (product, overflow) = clusterSize.multipliedReportingOverflow(by: UInt64(second?.count ?? 1))
        return overflow ? 1 << 63 : min(product, 1 << 63)
    }

    /// How many entries of the first table the disk needs, or as many as there are.
    public var neededFirstCount: Int {
        let needed = virtualSize / coverage + (virtualSize % coverage == 0 ? 0 : 1)
        return min(first.count, Int(clamping: needed))
    }

    /// The second table at `offset`.
    func table(at offset: HostOffset, _ second: SecondTables) -> TableLocation {
        TableLocation(
            file: file, offset: offset, count: second.count, entrySize: 8, name: second.name, decode: second.decode)
    }

    /// The table that `entry` of the first one names; nil where it names none that begins in the file.
    func table(of entry: UInt64) -> TableLocation? {
        guard let second, let offset = (try? entries.table(of: entry)) ?? nil, offset.rawValue < file.size else {
            return nil
        }
        return table(at: offset, second)
    }

    /// `fault` of the entry `index` of `table`, as an error.
    func error(_ fault: ParseFault, _ index: Int, of table: TableLocation) -> ImageError {
        let offset = table.offset.advanced(by: UInt64(index * table.entrySize + fault.position))
        return ImageError(
            .corrupt, path: file.path, offset: offset, "\(table.name): entry \(index) \(fault.message)")
    }
}
