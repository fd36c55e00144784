import BlockImage
import ByteFormat

/// The preheader and the header of a VDI (VirtualBox, `VDICore.h`: VDIPREHEADER, VDIHEADER1, VDIHEADER1PLUS). Little-endian.
///
///     OFFSET SIZE FIELD
///          0   64 file info: a text
///         64    4 signature 0xbeda107f
///         68    4 version: 1.1
///         72    4 header size (cbHeader), from here on
///         76    4 image type (u32Type)
///         80    4 image flags (fFlags)
///         84  256 comment
///        340    4 offset of the block map (offBlocks)
///        344    4 offset of the data (offData)
///        348   16 legacy geometry: cylinders, heads, sectors, bytes of a sector
///        364    4 not used
///        368    8 disk size (cbDisk)
///        376    4 block size (cbBlock)
///        380    4 extra bytes of each block (cbBlockExtra)
///        384    4 blocks of the disk (cBlocks)
///        388    4 blocks that are allocated (cBlocksAllocated)
///        392   16 UUID of the image (uuidCreate)
///        408   16 UUID of its last modification (uuidModify)
///        424   16 UUID of the parent (uuidLinkage)
///        440   16 UUID of the parent's last modification (uuidParentModify)
///        456   16 geometry, if the header is long enough
public struct Header: Hashable, Sendable {
    /// What a disk can be.
    public enum Kind: UInt32, Sendable {
        /// In blocks that come as they are written.
        case dynamic = 1
        /// In blocks that are all there.
        case fixed = 2
        /// What was written over a parent, to be undone; stored as a differencing one.
        case undo = 3
        /// In blocks, over a parent.
        case differencing = 4

        /// The word for it.
        public var name: String {
            switch self {
            case .dynamic: "dynamic"
            case .fixed: "static"
            case .undo: "undo"
            case .differencing: "differencing"
            }
        }

        /// Whether what it does not store is in a parent.
        public var hasParent: Bool { self == .undo || self == .differencing }
    }

    /// What wrote it, in words.
    public var info: [UInt8]
    /// 0x00010001
    public var version: UInt32 = 0x0001_0001
    /// The bytes of the header behind the preheader.
    public var headerSize: UInt32 = 400
    /// The image type, as it is stored.
    public var storedKind: UInt32
    /// The image flags.
    public var flags: UInt32 = 0
    /// What a person wrote about it.
    public var comment: [UInt8] = []
    /// Where the block map begins.
    public var mapOffset: UInt32
    /// Where the data of block 0 of the file begins.
    public var dataOffset: UInt32
    /// The geometry that the guest had once, and the bytes of a sector.
    public var geometry: [UInt32] = [0, 0, 0, 512]
    /// The size of the disk in bytes, as it is stored.
    public var diskSize: UInt64
    /// The bytes of the disk that a block stores.
    public var blockSize: UInt32
    /// The bytes that lie before each block and are not the disk's.
    public var extraSize: UInt32 = 0
    /// How many blocks the disk has.
    public var blockCount: UInt32
    /// How many blocks the file has.
    public var allocatedCount: UInt32
    /// What images over this one call it.
    public var identity: ImageIdentity
    /// Another one for each time that it was written to.
    public var modification: ImageIdentity
    /// The identity of the parent; zeros for none.
    public var parentIdentity = ImageIdentity([])
    /// The modification of the parent when this image was made over it.
    public var parentModification = ImageIdentity([])

    /// The bytes that are read: up to the last UUID.
    static let size = 456
    /// The bytes of the preheader: where the header begins.
    static let start = 72
    static let signature: UInt32 = 0xbeda_107f
    static let signatureOffset = 64
    /// The smallest header of version 1.1, VDIHEADER1.
    static let smallestHeader: UInt32 = 384
    /// The block sizes that are read: powers of two from a sector on. VirtualBox and QEMU have 1 MiB.
    static let blockSizes: ClosedRange<UInt32> = 512...(1 << 30)
    /// The most bytes before a block.
    static let extraLimit: UInt32 = 1 << 20
    /// The map entry of a block that was never written: the parent has it, or it is zeros.
    static let free: UInt64 = 0xffff_ffff
    /// The map entry of a block of zeros, whatever the parent has.
    static let zero: UInt64 = 0xffff_fffe

    /// What the disk is; nil where the type is none that is read.
    public var kind: Kind? { Kind(rawValue: storedKind) }
    /// The size of the disk, in whole sectors: VirtualBox makes disks of raw ones that end inside of one.
    public var virtualSize: UInt64 { (diskSize + (sectorSize - 1)) / sectorSize * sectorSize }
}

extension Header {
    /// Reads the header from the first `size` bytes of a file. Throws where they are none; the numbers in it are not checked.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        info = try reader.read(bytes: Self.signatureOffset)
        guard try reader.read(.little, as: UInt32.self) == Self.signature else {
            throw ParseFault(at: Self.signatureOffset, "signature: is no VDI's, which must be 0xbeda107f")
        }
        version = try reader.read(.little)
        headerSize = try reader.read(.little)
        storedKind = try reader.read(.little)
        flags = try reader.read(.little)
        comment = try reader.read(bytes: 256)
        mapOffset = try reader.read(.little)
        dataOffset = try reader.read(.little)
        geometry = []
        for _ in 0..<4 { geometry.append(try reader.read(.little)) }
        try reader.skip(4)
        diskSize = try reader.read(.little)
        blockSize = try reader.read(.little)
        extraSize = try reader.read(.little)
        blockCount = try reader.read(.little)
        allocatedCount = try reader.read(.little)
        identity = ImageIdentity(guid: try reader.read(bytes: ImageIdentity.size))
        modification = ImageIdentity(guid: try reader.read(bytes: ImageIdentity.size))
        parentIdentity = ImageIdentity(guid: try reader.read(bytes: ImageIdentity.size))
        parentModification = ImageIdentity(guid: try reader.read(bytes: ImageIdentity.size))
    }

    /// The sector that it takes.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: 512)
        writer.write(bytes: info.prefix(Self.signatureOffset))
        writer.pad(to: Self.signatureOffset)
        writer.write(Self.signature, .little)
        writer.write(version, .little)
        writer.write(headerSize, .little)
        writer.write(storedKind, .little)
        writer.write(flags, .little)
        writer.write(bytes: comment.prefix(256))
        writer.pad(to: 340)
        writer.write(mapOffset, .little)
        writer.write(dataOffset, .little)
        for number in geometry { writer.write(number, .little) }
        writer.write(UInt32(0), .little)
        writer.write(diskSize, .little)
        writer.write(blockSize, .little)
        writer.write(extraSize, .little)
        writer.write(blockCount, .little)
        writer.write(allocatedCount, .little)
        for identity in [identity, modification, parentIdentity, parentModification] {
            writer.write(bytes: identity.guidBytes)
        }
        // The sector size of the geometry in longer headers, which VirtualBox wants to be there.
        writer.pad(to: 468)
        writer.write(UInt32(512), .little)
        writer.pad(to: 512)
        return writer.bytes
    }

    /// The first feature in use that is not read; nil where everything is.
    var unsupportedFeature: ParseFault? {
        if version != 0x0001_0001 {
            return ParseFault(
                at: 68, "version: is \(version >> 16).\(version & 0xffff), which is not supported; 1.1 is")
        }
        if kind == nil {
            return ParseFault(
                at: 76,
                "image type: is \(storedKind), which is not supported; 1 (dynamic), 2 (static), 3 (undo) and 4 "
                    + "(differencing) are")
        }
        if geometry[3] != 512, geometry[3] != 0 {
            return ParseFault(at: 360, "sector size: is \(geometry[3]), which is not supported; 512 is")
        }
        if blockSize.nonzeroBitCount != 1 || !Self.blockSizes.contains(blockSize) {
            return ParseFault(
                at: 376,
                "block size: is \(blockSize), which is not supported; powers of two from \(Self.blockSizes.lowerBound) to "
                    + "\(Self.blockSizes.upperBound) are")
        }
        return nil
    }

    /// Checks the numbers that all arithmetic on blocks rests on, in a file of `fileSize` bytes.
    func check(fileSize: UInt64) throws(ParseFault) {
        guard headerSize >= Self.smallestHeader else {
            throw ParseFault(
                at: 72, "header size: is \(headerSize), but must be at least \(Self.smallestHeader) in version 1.1")
        }
        guard diskSize <= UInt64(Int64.max) - sectorSize else {
            throw ParseFault(at: 368, "disk size: is \(diskSize), but must be less than 2^63")
        }
        guard extraSize <= Self.extraLimit else {
            throw ParseFault(at: 380, "extra block size: is \(extraSize), but must be at most \(Self.extraLimit)")
        }
        guard neededCount <= UInt64(blockCount) else {
            throw ParseFault(
                at: 384,
                "block count: is \(blockCount), but a disk of \(diskSize) bytes has \(neededCount) blocks of \(blockSize)"
            )
        }
        for (name, place, offset) in [("block map", 340, mapOffset), ("data", 344, dataOffset)] {
            guard UInt64(offset) >= UInt64(Self.start) + UInt64(Self.smallestHeader), UInt64(offset) % sectorSize == 0
            else {
                throw ParseFault(
                    at: place,
                    "\(name) offset: is \(hexadecimal(offset)), but must be a multiple of 512 behind the header")
            }
        }
        let mapEnd = UInt64(mapOffset) + neededCount * 4
        guard dataOffset < mapOffset || UInt64(dataOffset) >= mapEnd else {
            throw ParseFault(
                at: 344,
                "data offset: is \(hexadecimal(dataOffset)), inside the block map, which ends at \(HostOffset(mapEnd))")
        }
        guard UInt64(mapOffset) < fileSize || neededCount == 0 else {
            throw ParseFault(
                at: 340, "block map offset: is \(hexadecimal(mapOffset)), but the file ends at \(HostOffset(fileSize))")
        }
    }

    /// How many blocks the disk needs; for a checked block size.
    var neededCount: UInt64 { virtualSize / UInt64(blockSize) + (virtualSize % UInt64(blockSize) == 0 ? 0 : 1) }

    /// Where the disk's bytes of the file's block `place` begin: at most 2^32 times 2^31, and a bit.
    func offset(ofBlock place: UInt64) -> UInt64 {
        UInt64(dataOffset) + place * (UInt64(blockSize) + UInt64(extraSize)) + UInt64(extraSize)
    }
}

/// The bytes of a sector.
let sectorSize: UInt64 = 512
