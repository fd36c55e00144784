import ByteFormat

/// The marker that stands, at the start of a sector, before everything in a streamOptimized extent after its overhead
/// (Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents").
///
///     OFFSET SIZE FIELD
///          0    8 value (val): sectors of metadata that follow the marker's; of a grain, its first sector (lba)
///          8    4 size: the bytes of a compressed grain, which follow here; 0 for metadata
///         12    4 type, of metadata only; the sector is filled with zeros
struct StreamMarker {
    /// What metadata follows a marker whose size is 0.
    enum Metadata: UInt32 {
        /// Nothing: the stream ends.
        case endOfStream = 0
        /// A grain table.
        case grainTable = 1
        /// The grain directory.
        case grainDirectory = 2
        /// A second header.
        case footer = 3
        /// Nothing: vSphere's progress. Not in the specification.
        case progress = 4
    }

    /// What the marker announces.
    enum Kind: Equatable {
        /// A grain that begins at the sector `lba` of the disk and takes `size` bytes after these 12.
        case grain(lba: UInt64, size: UInt32)
        /// Metadata in so many sectors after the marker's.
        case metadata(Metadata, sectors: UInt64)
    }

    /// What it announces; nil where its type has no meaning.
    let kind: Kind?

    /// The bytes before a grain's data.
    static let grainHeaderSize = 12
    /// The bytes that are looked at.
    static let size = 16

    /// Reads the marker that `bytes` begin with.
    init(parsing bytes: [UInt8]) throws(ParseFault) {
        var reader = ByteReader(bytes)
        let value: UInt64 = try reader.read(.little)
        let size: UInt32 = try reader.read(.little)
        if size > 0 {
            kind = .grain(lba: value, size: size)
        } else {
            kind = Metadata(rawValue: try reader.read(.little)).map { .metadata($0, sectors: value) }
        }
    }
}

extension StreamMarker.Kind {
    /// The marker that announces it: of a grain the bytes before its data, of metadata a whole sector.
    var encoded: [UInt8] {
        var writer = ByteWriter(capacity: Int(sectorSize))
        switch self {
        case .grain(let lba, let size):
            writer.write(lba, .little)
            writer.write(size, .little)
        case .metadata(let metadata, let sectors):
            writer.write(sectors, .little)
            writer.write(UInt32(0), .little)
            writer.write(metadata.rawValue, .little)
            writer.pad(to: Int(sectorSize))
        }
        return writer.bytes
    }
}
