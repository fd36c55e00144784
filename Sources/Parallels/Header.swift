import BlockImage
import ByteFormat
import ClusterMap

/// The header of an expanding Parallels image: docs/interop/parallels in QEMU, "Parallels Expandable Image File Format".
///
///     OFFSET SIZE FIELD
///          0   16 magic: "WithoutFreeSpace" or "WithouFreSpacExt"
///         16    4 version: 2
///         20    4 heads
///         24    4 cylinders
///         28    4 tracks: the sectors of a cluster
///         32    4 bat_entries
///         36    8 nb_sectors (of the older magic, 4, and 4 that mean nothing)
///         44    4 in_use
///         48    4 data_start, in sectors; 0: behind the BAT
///         52    4 flags
///         56    8 ext_off, in sectors; 0: no extension
///
/// All integers are little-endian. The block allocation table (BAT) follows: 4 bytes for each cluster.
struct Header: FileHeader, Hashable {
    /// The older magic, whose BAT counts sectors.
    static let magic = Array("WithoutFreeSpace".utf8)
    /// The newer magic, whose BAT counts clusters.
    static let extendedMagic = Array("WithouFreSpacExt".utf8)
    /// The bytes of a header.
    static let length = 64
    /// The most sectors of a cluster, as in QEMU.
    static let trackLimit = UInt32(Int32.max / 513)
    /// The most entries of a BAT, as in QEMU.
    static let entryLimit = UInt32(Int32.max / 4)
    /// The field in_use of an image that is being written to: "Ynot".
    static let inUseMark: UInt32 = 0x746f_6e59

    /// Whether it has the newer magic.
    var isExtended: Bool
    /// 2
    var version: UInt32
    /// Geometry that nothing goes by.
    var heads: UInt32
    /// Geometry that nothing goes by.
    var cylinders: UInt32
    /// The sectors of a cluster.
    var tracks: UInt32
    /// The entries of the BAT.
    var entryCount: UInt32
    /// The sectors of the disk, as stored.
    var storedSectors: UInt64
    /// `inUseMark` while a program writes to it.
    var inUse: UInt32
    /// The first sector of the clusters; 0: the one after the BAT.
    var dataStart: UInt32
    /// Bits of which nothing is needed.
    var flags: UInt32
    /// The sector of the extension, which may hold dirty bitmaps; 0: none.
    var extensionOffset: UInt64

    /// Parses the header from the image's first bytes, and checks nothing but the magic.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        let magic = try reader.read(bytes: 16)
        guard magic == Self.magic || magic == Self.extendedMagic else {
            throw ParseFault(
                at: 0, "no Parallels image: it does not begin with the magic 'WithoutFreeSpace' or 'WithouFreSpacExt'")
        }
        isExtended = magic == Self.extendedMagic
        version = try reader.read(.little)
        heads = try reader.read(.little)
        cylinders = try reader.read(.little)
        tracks = try reader.read(.little)
        entryCount = try reader.read(.little)
        storedSectors = try reader.read(.little)
        inUse = try reader.read(.little)
        dataStart = try reader.read(.little)
        flags = try reader.read(.little)
        extensionOffset = try reader.read(.little)
    }

    /// The sectors of the disk.
    var sectorCount: UInt64 { isExtended ? storedSectors : storedSectors & 0xffff_ffff }
    /// The bytes of a cluster.
    var clusterSize: UInt64 { UInt64(tracks) * 512 }
    /// Where the BAT ends.
    var tableEnd: UInt64 { UInt64(Self.length) + UInt64(entryCount) * 4 }
    /// Where the first cluster may begin.
    var dataOffset: UInt64 { dataStart == 0 ? (tableEnd + 511) / 512 * 512 : UInt64(dataStart) * 512 }
    /// Whether a program writes to it, or ended without saying that it is done.
    var isInUse: Bool { inUse == Self.inUseMark }

    /// What is wrong with the fields, by the specification and the limits of QEMU, each at its position.
    var faults: [ParseFault] {
        var faults: [ParseFault] = []
        func require(_ holds: Bool, at position: Int, _ message: @autoclosure () -> String) {
            if !holds { faults.append(ParseFault(at: position, message())) }
        }
        require(version == 2, at: 16, "version is \(version), but must be 2")
        require(
            (1...Self.trackLimit).contains(tracks), at: 28,
            "tracks, the sectors of a cluster, is \(tracks), but must be 1 to \(Self.trackLimit)")
        require(
            entryCount <= Self.entryLimit, at: 32,
            "bat_entries is \(entryCount), but at most \(Self.entryLimit) are allowed")
        require(
            sectorCount <= UInt64(Int64.max) / 512, at: 36, "nb_sectors is \(sectorCount), more than any file has")
        return faults
    }
}

/// An entry of the BAT: where the cluster lies, in sectors, or in clusters where the magic is the newer one; 0: nowhere.
struct TableEntries: ClusterEntries {
    /// The bytes that an entry counts in.
    let unit: UInt64

    func place(of entry: UInt64) throws(ParseFault) -> ClusterPlace {
        // 32 bits, times fewer than 2^31.
        entry == 0 ? .unallocated : .data(HostOffset(entry * unit))
    }
}

extension ClusterMap {
    /// Where the clusters of the image in `file` lie, whose header `header` has no fault.
    init(_ header: Header, of file: any HostFile) {
        self.init(
            of: file, virtualSize: header.sectorCount * 512, clusterSize: header.clusterSize,
            first: TableLocation(
                file: file, offset: HostOffset(UInt64(Header.length)), count: Int(header.entryCount), entrySize: 4,
                name: "BAT"
            ) { bytes in decodeTable(bytes, of: UInt32.self, .little) }, second: nil,
            entries: TableEntries(unit: header.isExtended ? header.clusterSize : 512))
    }
}
