import BlockImage
import ByteFormat
import ClusterMap

/// The header of a QED image: docs/interop/qed_spec, "Specification".
///
///     OFFSET SIZE FIELD
///          0    4 magic "QED\0"                 32    8 autoclear_features
///          4    4 cluster_size                  40    8 l1_table_offset
///          8    4 table_size, in clusters       48    8 image_size
///         12    4 header_size, in clusters      56    4 backing_filename_offset
///         16    8 features                      60    4 backing_filename_size
///         24    8 compat_features
///
/// All integers are little-endian.
struct Header: FileHeader, Hashable {
    /// What every QED image begins with.
    static let magic: [UInt8] = [0x51, 0x45, 0x44, 0]
    /// The bytes of a header.
    static let length = 64
    /// The most bytes of a backing file's name, as QEMU's PATH_MAX of 1024 with its NUL allows.
    static let nameLimit: UInt32 = 1023

    /// What a reader must understand.
    struct Features: OptionSet, Hashable, Sendable {
        let rawValue: UInt64
        /// QED_F_BACKING_FILE: there is a backing file.
        static let backingFile = Features(rawValue: 1)
        /// QED_F_NEED_CHECK: it was not closed; its tables may name clusters past the end, and space may be lost.
        static let needCheck = Features(rawValue: 2)
        /// QED_F_BACKING_FORMAT_NO_PROBE: the backing file is raw.
        static let backingIsRaw = Features(rawValue: 4)
        static let known: Features = [.backingFile, .needCheck, .backingIsRaw]
    }

    /// The bytes of a cluster: a power of two from 4 KiB to 64 MiB.
    var clusterSize: UInt32
    /// The clusters of a table: a power of two from 1 to 16.
    var tableSize: UInt32
    /// The clusters before the first that may be used; at least 1.
    var headerSize: UInt32
    /// What a reader must understand.
    var features: Features
    /// What a reader may ignore.
    var compatFeatures: UInt64
    /// What a writer that does not understand it must clear.
    var autoclearFeatures: UInt64
    /// Where the L1 table begins.
    var l1TableOffset: UInt64
    /// The size of the disk in bytes.
    var imageSize: UInt64
    /// Where the backing file's name stands in the header's clusters.
    var backingNameOffset: UInt32
    /// How many bytes it has.
    var backingNameSize: UInt32

    /// Parses the header from the image's first bytes, and checks nothing but the magic.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        guard try reader.read(bytes: 4) == Self.magic else {
            throw ParseFault(at: 0, "no QED image: it does not begin with the magic 'QED\\0'")
        }
        clusterSize = try reader.read(.little)
        tableSize = try reader.read(.little)
        headerSize = try reader.read(.little)
        features = Features(rawValue: try reader.read(.little))
        compatFeatures = try reader.read(.little)
        autoclearFeatures = try reader.read(.little)
        l1TableOffset = try reader.read(.little)
        imageSize = try reader.read(.little)
        backingNameOffset = try reader.read(.little)
        backingNameSize = try reader.read(.little)
    }

    /// The entries of a table. Only of a header without faults.
    var entriesOfTable: Int { Int(clusterSize) / 8 * Int(tableSize) }
    /// The bytes of a table.
    var tableBytes: UInt64 { UInt64(clusterSize) * UInt64(tableSize) }
    /// The bytes before the first cluster that may be used.
    var headerBytes: UInt64 { UInt64(headerSize) * UInt64(clusterSize) }

    /// What is wrong with the fields, by the specification and the limits of QEMU, each at its position.
    var faults: [ParseFault] {
        var faults: [ParseFault] = []
        func require(_ holds: Bool, at position: Int, _ message: @autoclosure () -> String) {
            if !holds { faults.append(ParseFault(at: position, message())) }
        }
        func isPower(_ number: UInt32, _ range: ClosedRange<UInt32>) -> Bool {
            range.contains(number) && number.nonzeroBitCount == 1
        }
        let knowsClusters = isPower(clusterSize, 4096...67_108_864)
        require(
            knowsClusters, at: 4, "cluster_size is \(clusterSize), but must be a power of two from 4096 to 67108864")
        let knowsTables = isPower(tableSize, 1...16)
        require(knowsTables, at: 8, "table_size is \(tableSize), but must be 1, 2, 4, 8 or 16 clusters")
        require(
            headerSize > 0 && UInt64(headerSize) * UInt64(clusterSize) <= UInt64(UInt32.max), at: 12,
            "header_size is \(counted(headerSize, "cluster")), but must be 1 to 4 GiB")
        guard knowsClusters, knowsTables else { return faults }
        let entries = UInt64(entriesOfTable)
        let (most, overflow) = (entries * entries).multipliedReportingOverflow(by: UInt64(clusterSize))
        require(
            imageSize % 512 == 0 && imageSize <= UInt64(Int64.max) && (overflow || imageSize <= most), at: 48,
            "image_size is \(counted(imageSize, "byte")), but must be whole sectors, and what two levels of such tables reach"
        )
        require(
            isTable(l1TableOffset), at: 40,
            "l1_table_offset is \(HostOffset(l1TableOffset)), but must be a multiple of cluster_size behind the header")
        if features.contains(.backingFile) {
            let end = UInt64(backingNameOffset) + UInt64(backingNameSize)
            require(
                end <= headerBytes && backingNameSize <= Self.nameLimit, at: 60,
                "backing_filename_size is \(backingNameSize), more than fits into the header or \(Self.nameLimit) bytes"
            )
        }
        return faults
    }

    /// Whether a table or a cluster may begin at `offset`.
    func isTable(_ offset: UInt64) -> Bool {
        offset % UInt64(clusterSize) == 0 && offset >= headerBytes && offset <= UInt64(Int64.max)
    }
}
