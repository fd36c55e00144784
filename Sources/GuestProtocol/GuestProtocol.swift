import ByteFormat

/// What the kernel helper's two sides agree on: the program that reads an image, and its agent, the first process of a Linux
/// that QEMU runs. Each message is a frame: four bytes with the number of bytes that follow, in little-endian order as all integers are.
///
/// The agent greets once with a `GuestHello`. Then each request gets one reply.
public enum GuestProtocol {
    /// A number that changes with the messages: both sides are of one build.
    public static let version: UInt32 = 1
    /// The most bytes of a file in one request or reply.
    public static let payloadLimit = 1 << 20
    /// The most bytes of a frame without its length: a payload, and a path with it.
    public static let frameLimit = payloadLimit + pathLimit + (64 << 10)
    /// The most bytes of a path below a mountpoint.
    public static let pathLimit = 64 << 10
    /// The most bytes of a name of a file or an extended attribute: 255 UTF-16 units, as FAT has them, are 765.
    public static let nameLimit = 1024
    /// The most bytes of the target of a link.
    public static let targetLimit = 4095
    /// The most bytes of the value of an extended attribute (XATTR_SIZE_MAX).
    public static let attributeLimit = 64 << 10
    /// The most bytes of a word about what went wrong.
    public static let wordLimit = 200
    /// After so many bytes a batch of entries ends.
    public static let batchSize = 128 << 10
    /// The most runs of data and holes in a reply.
    public static let runLimit = 256
    /// The most requests of a batch.
    public static let batchLimit = 300
    /// The most disks of a machine.
    public static let diskLimit = 24
    /// What the agent's port is called, and what its greeting begins with.
    public static let portName = "rblock"

    /// How many bytes follow, as the first four bytes of a frame say. Throws where that is nothing, or too much.
    public static func frameSize(_ head: [UInt8]) throws(ParseFault) -> Int {
        var reader = ByteReader(head)
        let size = try reader.read(.little, as: UInt32.self)
        guard size > 0, size <= UInt32(frameLimit) else {
            throw ParseFault(at: 0, "a frame has \(size) bytes, which must be 1 to \(frameLimit)")
        }
        return Int(size)
    }
}

extension ByteWriter {
    /// Writes how many `bytes` there are, and the bytes.
    mutating func write(counted bytes: [UInt8]) {
        write(UInt32(truncatingIfNeeded: bytes.count), .little)
        write(bytes: bytes)
    }

    /// Writes a byte: 1 or 0.
    mutating func write(_ flag: Bool) { write(UInt8(flag ? 1 : 0), .little) }

    /// The frame whose content was written after the first four bytes, which are to be its length.
    func framed() -> [UInt8] {
        var frame = bytes
        let size = UInt32(truncatingIfNeeded: frame.count - 4)
        for index in 0..<4 { frame[index] = UInt8(truncatingIfNeeded: size >> UInt32(8 * index)) }
        return frame
    }

    /// A frame to be filled.
    static func frame(capacity: Int = 64) -> Self {
        var writer = ByteWriter(capacity: capacity)
        writer.pad(to: 4)
        return writer
    }
}

extension ByteReader {
    /// Reads what `write(counted:)` wrote. Throws where that are more than `limit` bytes.
    mutating func readCounted(_ limit: Int) throws(ParseFault) -> [UInt8] {
        let place = position
        let count = try read(.little, as: UInt32.self)
        guard count <= UInt32(limit) else {
            throw ParseFault(at: place, "\(count) bytes, and the limit is \(limit)")
        }
        return try read(bytes: Int(count))
    }

    /// Reads a byte that is 0 or 1.
    mutating func readFlag() throws(ParseFault) -> Bool {
        let place = position
        switch try read(.little, as: UInt8.self) {
        case 0: return false
        case 1: return true
        case let other: throw ParseFault(at: place, "a flag is \(other), which must be 0 or 1")
        }
    }

    /// Throws unless all was read.
    func checkEnd() throws(ParseFault) {
        guard remaining == 0 else { throw ParseFault(at: position, "\(remaining) bytes too many") }
    }
}
