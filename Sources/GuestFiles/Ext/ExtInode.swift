import BlockImage
import ByteFormat

/// An inode (struct ext4_inode): Documentation/filesystems/ext4/inodes.rst of Linux.
///
///     OFFSET SIZE FIELD
///          0    2 i_mode
///          2    2 i_uid, and at 0x78 the upper half
///          4    4 i_size_lo, and at 0x6c the upper half
///          8   12 i_atime, i_ctime, i_mtime: seconds, signed
///       0x18    2 i_gid, and at 0x7a
///       0x1a    2 i_links_count
///       0x1c    4 i_blocks_lo, and at 0x74 the upper 16 bits
///       0x20    4 i_flags
///       0x28   60 i_block: the map of its blocks, or what it holds
///       0x64    4 i_generation
///       0x68    4 i_file_acl_lo, and at 0x76 the upper 16 bits
///       0x7c    2 i_checksum_lo, and at 0x82 the upper half
///       0x80    2 i_extra_isize: how many bytes of fields there are from here on
///       0x84   12 i_ctime_extra, i_mtime_extra, i_atime_extra: nanoseconds << 2, and two more bits of seconds
///       0x90    8 i_crtime, i_crtime_extra
struct ExtInode: Sendable {
    /// What is said of it (i_flags).
    struct Flags: OptionSet, Sendable {
        let rawValue: UInt32
        static let encrypted = Self(rawValue: 0x800)
        /// A directory with an index.
        static let index = Self(rawValue: 0x1000)
        static let hugeFile = Self(rawValue: 0x4_0000)
        static let extents = Self(rawValue: 0x8_0000)
        /// It holds the value of an extended attribute.
        static let value = Self(rawValue: 0x20_0000)
        static let inlineData = Self(rawValue: 0x1000_0000)
        static let casefold = Self(rawValue: 0x4000_0000)
    }

    /// The type bits of i_mode.
    enum Kind: UInt16, Sendable {
        case fifo = 0x1000
        case characterDevice = 0x2000
        case directory = 0x4000
        case blockDevice = 0x6000
        case regular = 0x8000
        case link = 0xa000
        case socket = 0xc000
    }

    /// The bytes of i_block.
    static let mapRange = 0x28..<0x64

    let number: UInt32
    /// Where it lies in the file system.
    let place: UInt64
    let fields: ExtFields
    let kind: Kind
    let size: UInt64

    var flags: Flags { Flags(rawValue: fields.u32(0x20)) }
    var map: ExtFields { ExtFields(fields.slice(Self.mapRange)) }
    /// The block of its extended attributes; 0: none.
    var attributeBlock: UInt64 { UInt64(fields.u32(0x68)) | UInt64(fields.u16(0x76)) << 32 }
    /// Where the fields end, and extended attributes begin.
    var fieldsEnd: Int { 128 + Int(fields.u16(0x80)) }

    /// What the check sums of what belongs to it begin with.
    func seed(_ superblock: ExtSuperblock) -> UInt32 {
        var sum = CRC32C(state: superblock.seed)
        sum.update(littleEndian: number)
        sum.update(littleEndian: fields.u32(0x64))
        return sum.state
    }

    /// Whether the fields go on to `end`.
    private func has(_ end: Int) -> Bool { fields.count > 128 && end <= fieldsEnd }

    private func time(_ seconds: Int, _ extra: Int) -> FileTime {
        var time = FileTime(seconds: Int64(Int32(bitPattern: fields.u32(seconds))), nanoseconds: 0)
        guard has(extra + 4) else { return time }
        let bits = fields.u32(extra)
        time.seconds += Int64(bits & 3) << 32
        time.nanoseconds = Int(min(bits >> 2, 999_999_999))
        return time
    }

    /// What is known of it.
    func status(_ superblock: ExtSuperblock) -> GuestStatus {
        var units: UInt64 = 512
        var blocks = UInt64(fields.u32(0x1c))
        if superblock.writerFeatures.contains(.hugeFile) {
            blocks |= UInt64(fields.u16(0x74)) << 32
            if flags.contains(.hugeFile) { units = UInt64(superblock.blockSize) }
        }
        // 48 bits, and 17 for the units at most: what overflows is no number of a file.
        var allocated = blocks.multipliedReportingOverflow(by: units).partialValue
        // What the inode itself holds of a file counts as well, in stat(2).
        if kind == .regular, flags.contains(.inlineData) { allocated &+= (min(size, 1 << 20) + 511) & ~511 }
        return GuestStatus(
            kind: fileKind, permissions: fields.u16(0) & 0xfff,
            userID: UInt32(fields.u16(2)) | UInt32(fields.u16(0x78)) << 16,
            groupID: UInt32(fields.u16(0x18)) | UInt32(fields.u16(0x7a)) << 16, size: size,
            allocatedSize: allocated,
            linkCount: UInt32(fields.u16(0x1a)), modified: time(0x10, 0x88), accessed: time(8, 0x8c),
            changed: time(0xc, 0x84), born: has(0x94) ? time(0x90, 0x94) : nil)
    }

    private var fileKind: GuestFileKind {
        switch kind {
        case .regular: .regular
        case .directory: .directory
        case .link: .link
        case .fifo: .fifo
        case .socket: .socket
        case .characterDevice: .characterDevice(major: device.major, minor: device.minor)
        case .blockDevice: .blockDevice(major: device.major, minor: device.minor)
        }
    }

    /// The older form is in the first word, and the one for larger numbers in the second.
    private var device: (major: UInt32, minor: UInt32) {
        let (old, new) = (fields.u32(0x28), fields.u32(0x2c))
        if old != 0 { return ((old >> 8) & 0xff, old & 0xff) }
        return ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xf_ff00))
    }
}

extension ExtVolume {
    /// The inode `number` of a file that is in use. Throws `corrupt` for another.
    func file(_ number: UInt64) throws(ImageError) -> ExtInode {
        guard number == 2 || number >= UInt64(superblock.firstInode), number <= UInt64(superblock.inodeCount) else {
            throw corrupt(
                "inode \(number)", at: ExtSuperblock.offset,
                "is none of a file: those are 2 and \(superblock.firstInode) to \(superblock.inodeCount)")
        }
        return try inode(UInt32(number))
    }

    /// The inode `number`, from 1 to their number. Throws `corrupt` where it is not in use.
    func inode(_ number: UInt32) throws(ImageError) -> ExtInode {
        guard number > 0, number <= superblock.inodeCount else {
            throw corrupt(
                "inode \(number)", at: ExtSuperblock.offset, "is not one of the \(superblock.inodeCount)")
        }
        let (group, index) = (number - 1).quotientAndRemainder(dividingBy: superblock.inodesPerGroup)
        let size = superblock.inodeSize
        guard UInt64(group) < superblock.groupCount else {
            throw corrupt("inode \(number)", at: ExtSuperblock.offset, "is in the group \(group), which there is not")
        }
        let start = UInt64(index) * UInt64(size)
        // The table was checked to lie in the file system.
        let table = try self.group(UInt64(group)).inodeTable
        let block = try block(table + start >> UInt64(blockShift), of: "inode \(number)")
        let inside = Int(start & UInt64(blockSize - 1))
        let place = place(block.number) + UInt64(inside)
        let fields = ExtFields(block.fields.slice(inside..<inside + size))
        guard fields.u16(0) != 0, fields.u16(0x1a) != 0 else {
            throw corrupt("inode \(number)", at: place, "is not in use, but a name or a number leads to it")
        }
        guard let kind = ExtInode.Kind(rawValue: fields.u16(0) & 0xf000) else {
            throw corrupt(
                "inode \(number)", at: place, "i_mode is \(hexadecimal(fields.u16(0))), which no kind of file has")
        }
        var length = UInt64(fields.u32(4))
        if kind == .regular || superblock.features.contains(.largeDirectories) {
            length |= UInt64(fields.u32(0x6c)) << 32
        }
        let inode = ExtInode(number: number, place: place, fields: fields, kind: kind, size: length)
        guard size == 128 || inode.fieldsEnd <= size && inode.fieldsEnd.isMultiple(of: 4) else {
            throw corrupt(
                "inode \(number)", at: place + 0x80,
                "i_extra_isize is \(fields.u16(0x80)), but must be a multiple of 4 and at most \(size - 128)")
        }
        try checkSum(of: inode)
        guard length <= UInt64(Int64.max) else {
            throw corrupt("inode \(number)", at: place + 4, "i_size is \(length), but must be below 2^63")
        }
        return inode
    }

    private func checkSum(of inode: ExtInode) throws(ImageError) {
        guard superblock.hasChecksums else { return }
        let (fields, size) = (inode.fields, inode.fields.count)
        var sum = CRC32C(state: inode.seed(superblock))
        let isWhole = size > 128 && inode.fieldsEnd >= 0x84
        sum.update(fields.bytes, in: 0..<0x7c)
        sum.update(zeros: 2)
        sum.update(fields.bytes, in: 0x7e..<(isWhole ? 0x82 : size))
        if isWhole {
            sum.update(zeros: 2)
            sum.update(fields.bytes, in: 0x84..<size)
        }
        let stored = UInt32(fields.u16(0x7c)) | (isWhole ? UInt32(fields.u16(0x82)) << 16 : 0)
        let found = isWhole ? sum.state : sum.state & 0xffff
        guard found == stored else {
            throw corrupt(
                "inode \(inode.number)", at: inode.place,
                "the check sum is \(hexadecimal(found)), but must be \(hexadecimal(stored))")
        }
    }
}
