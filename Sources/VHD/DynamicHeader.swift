import BlockImage
import ByteFormat

/// The header of a dynamic or differencing disk (Virtual Hard Disk Image Format 1.0, "Dynamic Disk Header Format").
/// Big-endian.
///
///     OFFSET SIZE FIELD
///          0    8 cookie "cxsparse"
///          8    8 data offset: all bits set
///         16    8 table offset
///         24    4 header version
///         28    4 max table entries
///         32    4 block size
///         36    4 checksum
///         40   16 parent unique id
///         56    4 parent time stamp
///         60    4 reserved
///         64  512 parent Unicode name, UTF-16
///        576  192 parent locator entries, 8 of 24
///        768  256 reserved
public struct DynamicHeader: Hashable, Sendable {
    /// Where the block allocation table (BAT) begins.
    public var tableOffset: UInt64
    /// The major version is 1.
    public var version: UInt32 = 0x0001_0000
    /// How many entries the BAT has.
    public var entryCount: UInt32
    /// The bytes of the disk that a block stores: a power of two.
    public var blockSize: UInt32
    /// The checksum, as it is stored.
    public var checkSum: UInt32 = 0
    /// The unique id of the parent; zeros in a dynamic disk, and over a raw parent of XenServer.
    public var parentIdentity = ImageIdentity([])
    /// When the parent was last changed, in seconds since the beginning of 2000; 0 where that is not said.
    public var parentTimeStamp: UInt32 = 0
    /// The bytes of the parent's name.
    public var parentName = [UInt8](repeating: 0, count: DynamicHeader.nameSize)
    /// Where names of the parent lie, in as many ways as there are.
    public var locators: [ParentLocator] = []

    /// The bytes that it takes.
    public static let size = 1024
    static let nameSize = 512
    static let nameOffset = 64
    static let locatorOffset = 576
    static let locatorCount = 8
    static let checkSumOffset = 36
    static let magic = Array("cxsparse".utf8)
    /// An entry of the BAT that names no block.
    static let unallocated: UInt64 = 0xffff_ffff
    /// The smallest and the largest block that is read: a sector, and 2^31 bytes, the largest power of two that fits.
    static let blockSizes: ClosedRange<UInt32> = 512...(1 << 31)

    /// The header of a new disk.
    init(tableOffset: UInt64, entryCount: UInt32, blockSize: UInt32) {
        self.tableOffset = tableOffset
        self.entryCount = entryCount
        self.blockSize = blockSize
    }
}

/// An entry that says where a name of the parent lies, and of what kind it is ("Parent Locator Entry").
///
///     OFFSET SIZE FIELD
///          0    4 platform code
///          4    4 platform data space
///          8    4 platform data length
///         12    4 reserved
///         16    8 platform data offset
public struct ParentLocator: Hashable, Sendable {
    /// "W2ru": a relative name of Windows; "W2ku": an absolute one; "MacX": a URL; zeros for an entry that is not used.
    public var code: [UInt8]
    /// The space that is kept for it: in sectors by the specification, in bytes as some write it. Nothing goes by it.
    public var space: UInt32
    /// How many bytes it has.
    public var length: UInt32
    /// Where it begins.
    public var offset: UInt64

    /// The bytes of an entry.
    static let size = 24
    /// The most bytes of a name that are read: Windows' own limit of 32,767 characters.
    static let lengthLimit: UInt32 = 65536

    /// Whether it is used.
    public var isUsed: Bool { code.contains { $0 != 0 } }
}

extension DynamicHeader {
    /// Reads the header that `bytes` are. Throws where they are none; what is in it is not checked yet.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        guard try reader.read(bytes: 8) == Self.magic else {
            throw ParseFault(at: 0, "cookie: is no dynamic header's, which must be \"cxsparse\"")
        }
        try reader.skip(8)
        tableOffset = try reader.read(.big)
        version = try reader.read(.big)
        entryCount = try reader.read(.big)
        blockSize = try reader.read(.big)
        checkSum = try reader.read(.big)
        parentIdentity = ImageIdentity(try reader.read(bytes: ImageIdentity.size))
        parentTimeStamp = try reader.read(.big)
        try reader.skip(4)
        parentName = try reader.read(bytes: Self.nameSize)
        for _ in 0..<Self.locatorCount {
            let (code, space, length) = (
                try reader.read(bytes: 4), try reader.read(.big, as: UInt32.self),
                try reader.read(.big, as: UInt32.self)
            )
            try reader.skip(4)
            locators.append(ParentLocator(code: code, space: space, length: length, offset: try reader.read(.big)))
        }
    }

    /// The bytes that it takes, with the checksum that they must have.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        writer.write(bytes: Self.magic)
        writer.write(UInt64.max, .big)
        writer.write(tableOffset, .big)
        writer.write(version, .big)
        writer.write(entryCount, .big)
        writer.write(blockSize, .big)
        writer.write(UInt32(0), .big)
        writer.write(bytes: parentIdentity.bytes)
        writer.write(parentTimeStamp, .big)
        writer.pad(to: Self.nameOffset)
        writer.write(bytes: parentName)
        for locator in locators.prefix(Self.locatorCount) {
            writer.write(bytes: locator.code)
            writer.write(locator.space, .big)
            writer.write(locator.length, .big)
            writer.write(UInt32(0), .big)
            writer.write(locator.offset, .big)
        }
        writer.pad(to: Self.size)
        return withCheckSum(writer.bytes, at: Self.checkSumOffset)
    }

    /// Checks the numbers that all arithmetic on blocks rests on, for a disk of `size` bytes.
    func check(size: UInt64) throws(ParseFault) {
        guard version >> 16 == 1 else {
            throw ParseFault(
                at: 24, "header version: is \(version >> 16).\(version & 0xffff), which is not supported; 1.0 is")
        }
        guard blockSize.nonzeroBitCount == 1, Self.blockSizes.contains(blockSize) else {
            throw ParseFault(
                at: 32,
                "block size: is \(blockSize), but must be a power of two from \(Self.blockSizes.lowerBound) to "
                    + "\(Self.blockSizes.upperBound)")
        }
        guard blockCount(size: size) <= UInt64(entryCount) else {
            throw ParseFault(
                at: 28,
                "max table entries: is \(entryCount), but a disk of \(size) bytes has \(blockCount(size: size)) blocks of "
                    + "\(blockSize)")
        }
    }

    /// How many blocks a disk of `size` bytes, less than 2^63, has.
    func blockCount(size: UInt64) -> UInt64 { (size + UInt64(blockSize) - 1) / UInt64(blockSize) }

    /// The bytes of the bitmap before each block: a bit for each sector, in whole sectors.
    var bitmapSize: UInt64 {
        let bytes = (UInt64(blockSize) / sectorSize + 7) / 8
        return (bytes + sectorSize - 1) / sectorSize * sectorSize
    }
}
