import BlockImage
import ByteFormat
import FormatCore

/// A dirty bitmap, as the bitmap directory lists it: docs/interop/qcow2 "Bitmaps", "Bitmap directory".
///
///     OFFSET SIZE FIELD
///          0    8 bitmap_table_offset      16    1 type
///          8    4 bitmap_table_size        17    1 granularity_bits
///         12    4 flags                    18    2 name_size
///                                          20    4 extra_data_size, then extra data, name, padding to 8
public struct Bitmap: Hashable, Sendable {
    /// The most bitmaps that an image may have, as in QEMU (QCOW2_MAX_BITMAPS).
    static let countLimit: UInt32 = 65535
    /// The most bytes that a bitmap directory may take, as in QEMU (QCOW2_MAX_BITMAP_DIRECTORY_SIZE).
    static let directorySizeLimit: UInt64 = 1024 * 65535

    /// Flag bits of a bitmap.
    public struct Flags: OptionSet, Hashable, Sendable {
        /// The bits as stored.
        public let rawValue: UInt32
        /// The flags whose bits are set in `rawValue`.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// It was not saved properly, and says nothing.
        public static let inUse = Self(rawValue: 1 << 0)
        /// Writers must keep it up to date.
        public static let auto = Self(rawValue: 1 << 1)
        /// It may be used by those that do not know its extra data.
        public static let extraDataCompatible = Self(rawValue: 1 << 2)

        /// The flags by the names that `qemu-img info` gives them.
        public var names: [String] {
            [(Self.inUse, "in-use"), (.auto, "auto")].filter { contains($0.0) }.map(\.1)
        }
    }

    /// The bytes of the disk that one bit stands for.
    public var granularity: UInt64 { 1 << UInt64(granularityBits) }

    /// Where its entry of the bitmap directory begins.
    public internal(set) var entryOffset = HostOffset(0)
    /// Whether nothing can be learned from it: it was in use when the image was last closed, or the image was written
    /// to by a program that knows no bitmaps and cleared the autoclear bit.
    public internal(set) var isInconsistent = false
    /// Where its table begins.
    public var tableOffset: UInt64
    /// Entries in its table.
    public var tableSize: UInt32
    /// What holds of it.
    public var flags: Flags
    /// 1: it marks what was written to. The format has no other.
    public var type: UInt8
    /// log2 of the bytes of the disk that one bit stands for: 9 to 31.
    public var granularityBits: UInt8
    /// The bytes of its extra data, which the format does not define.
    public var extraDataSize: UInt32
    /// The bytes of its name.
    public let nameBytes: [UInt8]
    /// Its name; bytes that are not UTF-8 are replaced.
    public var name: String { String(decoding: nameBytes, as: UTF8.self) }

    /// Lists the bitmaps of an image. `fault`: why there are none, `corrupt` or `truncated` about a directory that the
    /// autoclear bit vouches for, or what reading the file throws; another directory may lie in clusters that have been
    /// used again since, and is worth no complaint. The disk needs no bitmap.
    static func list(
        _ header: Header, _ extensions: HeaderExtensions, of file: any HostFile
    ) -> (bitmaps: [Bitmap], fault: ImageError?) {
        guard let location = extensions.bitmaps else { return ([], nil) }
        let isValid = header.autoclearFeatures.contains(.bitmaps)
        do throws(ImageError) {
            let bitmaps = try readDirectory(location, of: file)
            if isValid { return (bitmaps, nil) }
            let stale = bitmaps.map { bitmap in
                var stale = bitmap
                stale.isInconsistent = true
                return stale
            }
            return (stale, nil)
        } catch {
            return ([], isValid ? error : nil)
        }
    }

    /// Reads the bitmap directory that the extension names. Throws `corrupt` and `truncated` about it.
    private static func readDirectory(
        _ location: HeaderExtensions.Bitmaps, of file: any HostFile
    ) throws(ImageError) -> [Bitmap] {
        let start = HostOffset(location.directoryOffset)
        guard (1...countLimit).contains(location.count) else {
            throw ImageError(
                .corrupt, path: file.path, offset: start,
                "bitmap directory: has \(location.count) entries, but must have 1 to \(countLimit)")
        }
        guard location.directorySize <= directorySizeLimit else {
            throw ImageError(
                .corrupt, path: file.path, offset: start,
                "bitmap directory: has \(location.directorySize) bytes, but at most \(directorySizeLimit) are allowed")
        }
        var reader = ByteReader(try file.bytes(Int(location.directorySize), at: start, of: "bitmap directory"))
        var bitmaps: [Bitmap] = []
        do throws(ParseFault) {
            for _ in 0..<location.count {
                let position = reader.position
                var bitmap = try Bitmap(parsing: &reader)
                bitmap.entryOffset = start.advanced(by: UInt64(position))
                bitmap.isInconsistent = bitmap.flags.contains(.inUse)
                bitmaps.append(bitmap)
            }
        } catch {
            throw ImageError(error, in: file, at: start, of: "bitmap directory: entry \(bitmaps.count)")
        }
        return bitmaps
    }

    /// Parses one entry, with its padding.
    init(parsing reader: inout ByteReader) throws(ParseFault) {
        tableOffset = try reader.read(.big)
        tableSize = try reader.read(.big)
        flags = Flags(rawValue: try reader.read(.big))
        type = try reader.read(.big)
        granularityBits = try reader.read(.big)
        guard (9...31).contains(granularityBits) else {
            throw ParseFault(at: reader.position - 1, "granularity_bits is \(granularityBits), but must be 9 to 31")
        }
        let nameSize: UInt16 = try reader.read(.big)
        extraDataSize = try reader.read(.big)
        try reader.skip(Int(extraDataSize))
        nameBytes = Array(try reader.read(bytes: Int(nameSize)))
        reader.align(to: 8)
    }
}
