import BlockImage
import ByteFormat

/// The hard disk footer, which ends the file; in dynamic and differencing disks, a copy begins it (Virtual Hard Disk Image
/// Format 1.0, "Hard Disk Footer Format"). Big-endian.
///
///     OFFSET SIZE FIELD
///          0    8 cookie "conectix"
///          8    4 features
///         12    4 file format version
///         16    8 data offset
///         24    4 time stamp
///         28    4 creator application
///         32    4 creator version
///         36    4 creator host OS
///         40    8 original size
///         48    8 current size
///         56    4 disk geometry: cylinders (2), heads (1), sectors per track (1)
///         60    4 disk type
///         64    4 checksum
///         68   16 unique id
///         84    1 saved state
///         85  427 reserved; XenServer's "hidden" is the first
public struct Footer: Hashable, Sendable {
    /// What a disk can be.
    public enum Kind: UInt32, Sendable {
        /// Byte for byte, with the footer behind it.
        case fixed = 2
        /// In blocks.
        case dynamic = 3
        /// In blocks, over a parent.
        case differencing = 4

        /// The word for it.
        public var name: String {
            switch self {
            case .fixed: "fixed"
            case .dynamic: "dynamic"
            case .differencing: "differencing"
            }
        }
    }

    /// Bit 1 is always set; bit 0: a temporary disk.
    public var features: UInt32 = 2
    /// The major version is 1.
    public var version: UInt32 = Footer.version
    /// Where the dynamic header is; all bits set in a fixed disk.
    public var dataOffset: UInt64 = .max
    /// When the disk was made, in seconds since the beginning of 2000.
    public var timeStamp: UInt32 = 0
    /// Which program made it: "win ", "vpc ", "vbox", "qemu", "tap\0".
    public var creator: [UInt8]
    /// Its version.
    public var creatorVersion: UInt32 = 0
    /// Its system: "Wi2k", "Mac ".
    public var creatorSystem: [UInt8] = Array("Wi2k".utf8)
    /// The size of the disk when it was made, in bytes.
    public var originalSize: UInt64
    /// The size of the disk now, in bytes.
    public var currentSize: UInt64
    /// What the disk shows to its guest.
    public var geometry: Geometry
    /// The disk type, as it is stored.
    public var storedKind: UInt32
    /// The checksum, as it is stored.
    public var checkSum: UInt32 = 0
    /// What differencing disks over this one call it.
    public var identity: ImageIdentity
    /// Whether a machine was suspended with the disk.
    public var savedState: UInt8 = 0
    /// What XenServer keeps in the first byte behind that: whether the disk has children only.
    public var hidden: UInt8 = 0

    /// The bytes that it takes.
    public static let size = 512
    /// The bytes that it takes in disks of Virtual PC before 2004.
    static let oldSize = 511
    static let version: UInt32 = 0x0001_0000
    static let checkSumOffset = 64
    static let magic = Array("conectix".utf8)

    /// What the disk is; nil where the type is none that is read.
    public var kind: Kind? { Kind(rawValue: storedKind) }

    /// The footer of a new disk.
    init(_ kind: Kind, size: UInt64, geometry: Geometry, creator: String, identity: ImageIdentity) {
        self.creator = Array(creator.utf8)
        originalSize = size
        currentSize = size
        self.geometry = geometry
        storedKind = kind.rawValue
        self.identity = identity
        if kind != .fixed { dataOffset = UInt64(Footer.size) }
    }
}

extension Footer {
    /// Reads the footer that `bytes` are, 512 or 511. Throws where they are none; what is in it is not checked yet.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        guard try reader.read(bytes: 8) == Self.magic else {
            throw ParseFault(at: 0, "cookie: is no VHD footer's, which must be \"conectix\"")
        }
        features = try reader.read(.big)
        version = try reader.read(.big)
        dataOffset = try reader.read(.big)
        timeStamp = try reader.read(.big)
        creator = try reader.read(bytes: 4)
        creatorVersion = try reader.read(.big)
        creatorSystem = try reader.read(bytes: 4)
        originalSize = try reader.read(.big)
        currentSize = try reader.read(.big)
        geometry = Geometry(
            cylinders: try reader.read(.big), heads: try reader.read(.big), sectors: try reader.read(.big))
        storedKind = try reader.read(.big)
        checkSum = try reader.read(.big)
        identity = ImageIdentity(try reader.read(bytes: ImageIdentity.size))
        savedState = try reader.read(.big)
        hidden = try reader.read(.big)
    }

    /// The 512 bytes that it takes, with the checksum that they must have.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        writer.write(bytes: Self.magic)
        writer.write(features, .big)
        writer.write(version, .big)
        writer.write(dataOffset, .big)
        writer.write(timeStamp, .big)
        writer.write(bytes: creator)
        writer.write(creatorVersion, .big)
        writer.write(bytes: creatorSystem)
        writer.write(originalSize, .big)
        writer.write(currentSize, .big)
        writer.write(geometry.cylinders, .big)
        writer.write(geometry.heads, .big)
        writer.write(geometry.sectors, .big)
        writer.write(storedKind, .big)
        writer.write(UInt32(0), .big)
        writer.write(bytes: identity.bytes)
        writer.write(savedState, .big)
        writer.write(hidden, .big)
        writer.pad(to: Self.size)
        return withCheckSum(writer.bytes, at: Self.checkSumOffset)
    }

    /// The first field that keeps the disk from being read; nil where none does.
    func unsupportedField() -> ParseFault? {
        if version >> 16 != 1 {
            return ParseFault(
                at: 12, "file format version: is \(version >> 16).\(version & 0xffff), which is not supported; 1.0 is")
        }
        if kind == nil {
            return ParseFault(
                at: 60,
                "disk type: is \(storedKind), which is not supported; 2 (fixed), 3 (dynamic) and 4 (differencing) are")
        }
        return nil
    }
}

/// The cylinders, heads and sectors that a disk shows to its guest.
public struct Geometry: Hashable, Sendable {
    /// At most 65,535.
    public var cylinders: UInt16
    /// At most 255, 16 by the format.
    public var heads: UInt8
    /// The sectors of a track, at most 255.
    public var sectors: UInt8

    /// The bytes of a disk of this geometry.
    public var size: UInt64 { UInt64(cylinders) * UInt64(heads) * UInt64(sectors) * sectorSize }

    /// Whether it is the largest that there is, which stands for disks that are larger.
    public var isLargest: Bool { cylinders == .max && heads == 16 && sectors == 255 }
}

/// The bytes of a sector, in which offsets and bitmaps count.
let sectorSize: UInt64 = 512

/// The checksum of the structure `bytes`: the complement of the sum of all of them but the four at `offset`, which are it.
func checkSum(of bytes: [UInt8], at offset: Int) -> UInt32 {
    var sum: UInt32 = 0
    for (index, byte) in bytes.enumerated() where index < offset || index >= offset + 4 { sum &+= UInt32(byte) }
    return ~sum
}

/// `bytes` with their checksum at `offset`.
func withCheckSum(_ bytes: [UInt8], at offset: Int) -> [UInt8] {
    let sum = checkSum(of: bytes, at: offset)
    var bytes = bytes
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: sum >> UInt32(24 - 8 * index)) }
    return bytes
}
