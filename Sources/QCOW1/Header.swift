import BlockImage
import ByteFormat
import ClusterMap

/// The header of a QCOW image of version 1: block/qcow.c in QEMU, `QCowHeader`.
///
///     OFFSET SIZE FIELD
///          0    4 magic "QFI\xfb"
///          4    4 version: 1
///          8    8 backing_file_offset
///         16    4 backing_file_size
///         20    4 mtime
///         24    8 size
///         32    1 cluster_bits
///         33    1 l2_bits
///         34    2 padding
///         36    4 crypt_method
///         40    8 l1_table_offset
///
/// All integers are big-endian.
struct Header: FileHeader, Hashable {
    /// What every QCOW image of this version begins with.
    static let start: [UInt8] = [0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 1]
    /// The bytes of a header.
    static let length = 48
    /// The most bytes of a backing file's name, as in QEMU.
    static let nameLimit: UInt32 = 1023
    /// The most entries of an L1 table, as in QEMU.
    static let l1Limit = UInt64(Int32.max / 8)

    /// Where the backing file's name stands in the file; 0: there is none.
    var backingFileOffset: UInt64
    /// The bytes of the backing file's name.
    var backingFileSize: UInt32
    /// When the backing file was last changed, in seconds since 1970; 0 where the writer did not say it.
    var mtime: UInt32
    /// The size of the disk in bytes.
    var size: UInt64
    /// log2 of the cluster size: 9 to 16.
    var clusterBits: UInt8
    /// log2 of the entries of an L2 table: 6 to 13.
    var l2Bits: UInt8
    /// 0: not encrypted, 1: AES.
    var cryptMethod: UInt32
    /// Where the L1 table begins.
    var l1TableOffset: UInt64

    /// Parses the header from the image's first bytes, and checks nothing but that it is one.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        guard try reader.read(bytes: 8) == Self.start else {
            throw ParseFault(at: 0, "no QCOW image of version 1: it does not begin with the magic 'QFI\\xfb' and 1")
        }
        backingFileOffset = try reader.read(.big)
        backingFileSize = try reader.read(.big)
        mtime = try reader.read(.big)
        size = try reader.read(.big)
        clusterBits = try reader.read(.big)
        l2Bits = try reader.read(.big)
        try reader.skip(2)
        cryptMethod = try reader.read(.big)
        l1TableOffset = try reader.read(.big)
    }

    /// The bytes of a cluster. Only of a header without faults.
    var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
    /// The disk's size as its guest sees it, in whole sectors, as QEMU has it.
    var virtualSize: UInt64 { size & ~511 }

    /// The L1 entries that the disk needs: the table has no others.
    var l1Size: UInt64 {
        let bits = UInt64(clusterBits) + UInt64(l2Bits)
        return size >> bits + (size & (1 << bits - 1) == 0 ? 0 : 1)
    }

    /// What is wrong with the fields, by the limits of QEMU, each at its position.
    var faults: [ParseFault] {
        var faults: [ParseFault] = []
        func require(_ holds: Bool, at position: Int, _ message: @autoclosure () -> String) {
            if !holds { faults.append(ParseFault(at: position, message())) }
        }
        require(
            backingFileOffset == 0 || backingFileSize <= Self.nameLimit, at: 16,
            "backing_file_size is \(backingFileSize), but at most \(Self.nameLimit) is allowed")
        require(size > 1, at: 24, "size is \(counted(size, "byte")), but must be at least 2")
        require(size <= UInt64(Int64.max), at: 24, "size is \(size) bytes, more than any file has")
        let knowsClusters = (9...16).contains(clusterBits)
        require(knowsClusters, at: 32, "cluster_bits is \(clusterBits), but must be 9 to 16")
        let knowsTables = (6...13).contains(l2Bits)
        require(knowsTables, at: 33, "l2_bits is \(l2Bits), but must be 6 to 13")
        if knowsClusters, knowsTables {
            require(
                l1Size <= Self.l1Limit, at: 24,
                "size is \(size) bytes, which needs \(l1Size) L1 entries, but at most \(Self.l1Limit) are allowed")
        }
        require(
            l1TableOffset <= UInt64(Int64.max), at: 40,
            "l1_table_offset is \(HostOffset(l1TableOffset)), where no file reaches")
        return faults
    }
}
