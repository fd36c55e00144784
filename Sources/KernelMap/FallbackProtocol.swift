import ByteFormat
import Glibc

/// The byte order of this machine, in which the kernel speaks.
private let native: ByteOrder = 1.littleEndian == 1 ? .little : .big

/// A request of the kernel, as `struct fuse_in_header` begins it.
///
///     OFFSET  SIZE  FIELD
///          0     4  len
///          4     4  opcode
///          8     8  unique
///         16     8  nodeid
///         24    16  uid, gid, pid, total_extlen, padding
struct FallbackRequest {
    enum Operation {
        case initialize(minor: UInt32)
        case lookUp(name: [UInt8])
        case attributes
        case open
        case read(offset: UInt64, count: Int)
        case release
        case needsNoAnswer
        case unknown
    }

    /// Its number, by which it is answered.
    let number: UInt64
    /// What it is about.
    let node: UInt64
    let operation: Operation

    init(_ bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        _ = try reader.read(native, as: UInt32.self)
        let opcode = try reader.read(native, as: UInt32.self)
        number = try reader.read(native, as: UInt64.self)
        node = try reader.read(native, as: UInt64.self)
        try reader.skip(16)
        switch opcode {
        case 1: operation = .lookUp(name: Array(bytes.dropFirst(40).prefix { $0 != 0 }))
        case 3: operation = .attributes
        case 14: operation = .open
        case 15:
            try reader.skip(8)  // fh
            let offset = try reader.read(native, as: UInt64.self)
            operation = .read(offset: offset, count: Int(try reader.read(native, as: UInt32.self)))
        case 18: operation = .release
        case 26:
            try reader.skip(4)  // major
            operation = .initialize(minor: try reader.read(native, as: UInt32.self))
        case 2, 36, 42: operation = .needsNoAnswer  // FORGET, INTERRUPT, BATCH_FORGET
        default: operation = .unknown
        }
    }
}

/// An answer to one.
enum FallbackReply {
    case initialized(minor: UInt32, readLimit: Int)
    case entry(size: UInt64)
    case attributes(ofRoot: Bool, size: UInt64)
    case opened
    case done
    case failure(CInt)

    /// `struct fuse_out_header`.
    static let headerSize = 16
    /// The number of the root, and that of the file.
    static let rootNode: UInt64 = 1
    private static let fileNode: UInt64 = 2
    /// The newest protocol that this is written for; the fields that are used have not changed since 7.28.
    private static let newestMinor: UInt32 = 38

    /// The header of an answer of `count` bytes to the request `number`.
    static func header(of number: UInt64, count: Int, error: CInt = 0) -> [UInt8] {
        var writer = ByteWriter(capacity: headerSize)
        writer.write(UInt32(headerSize + count), native)
        writer.write(-error, native)
        writer.write(number, native)
        return writer.bytes
    }

    func bytes(for number: UInt64) -> [UInt8] {
        var body = ByteWriter(capacity: 128)
        var error: CInt = 0
        switch self {
        case .initialized(let minor, let readLimit): Self.writeInit(minor, readLimit, to: &body)
        case .entry(let size):
            body.write(Self.fileNode, native)
            // generation; for how long name and attributes hold: for ever
            for value in [0, UInt64(Int32.max), UInt64(Int32.max), 0] { body.write(value, native) }
            Self.writeAttributes(ofRoot: false, size: size, to: &body)
        case .attributes(let ofRoot, let size):
            for value in [UInt64(Int32.max), 0] { body.write(value, native) }
            Self.writeAttributes(ofRoot: ofRoot, size: size, to: &body)
        case .opened:
            body.write(UInt64(0), native)  // fh
            // FOPEN_DIRECT_IO: what is read of the map is in the page cache once already.
            body.write(UInt32(1), native)
            body.write(UInt32(0), native)
        case .done: break
        case .failure(let number): error = number
        }
        return Self.header(of: number, count: body.bytes.count, error: error) + body.bytes
    }

    /// `struct fuse_init_out`, 64 bytes.
    private static func writeInit(_ minor: UInt32, _ readLimit: Int, to writer: inout ByteWriter) {
        writer.write(UInt32(7), native)  // major
        writer.write(min(minor, newestMinor), native)
        writer.write(UInt32(readLimit), native)  // max_readahead
        writer.write(UInt32(1 | 1 << 15 | 1 << 22), native)  // FUSE_ASYNC_READ, FUSE_ASYNC_DIO, FUSE_MAX_PAGES
        writer.write(UInt16(64), native)  // max_background
        writer.write(UInt16(48), native)  // congestion_threshold
        writer.write(UInt32(4096), native)  // max_write
        writer.write(UInt32(1), native)  // time_gran
        writer.write(UInt16(readLimit / 4096), native)  // max_pages
        writer.pad(to: 64)
    }

    /// `struct fuse_attr`, 88 bytes.
    private static func writeAttributes(ofRoot: Bool, size: UInt64, to writer: inout ByteWriter) {
        let start = writer.position
        writer.write(ofRoot ? rootNode : fileNode, native)
        writer.write(ofRoot ? 0 : size, native)
        writer.write(ofRoot ? 0 : size / 512, native)
        writer.pad(to: start + 60)  // times
        writer.write(UInt32(ofRoot ? S_IFDIR | 0o500 : S_IFREG | 0o400), native)
        writer.write(UInt32(1), native)  // nlink
        writer.pad(to: start + 80)  // uid, gid, rdev
        writer.write(UInt32(4096), native)  // blksize
        writer.pad(to: start + 88)
    }
}
