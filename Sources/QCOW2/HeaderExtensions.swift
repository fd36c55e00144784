import ByteFormat

/// The header extensions, which follow the header up to the backing file's name or the end of the first cluster:
/// docs/interop/qcow2 "Header extensions". A record is type (4), length (4), data, padding to a multiple of 8.
public struct HeaderExtensions: Hashable, Sendable {
    /// The types that the specification gives.
    enum Kind {
        static let end: UInt32 = 0
        static let backingFormat: UInt32 = 0xe279_2aca
        static let featureNames: UInt32 = 0x6803_f857
        static let bitmaps: UInt32 = 0x2385_2875
        static let encryptionHeader: UInt32 = 0x0537_be77
        static let dataFile: UInt32 = 0x4441_5441
        /// Not of the specification, but of this project: "rblk".
        static let baseIdentity: UInt32 = 0x7262_6c6b
    }

    /// Where the bitmap directory lies.
    public struct Bitmaps: Hashable, Sendable {
        /// How many bitmaps the directory lists; at least 1.
        public var count: UInt32
        /// The directory's bytes.
        public var directorySize: UInt64
        /// Where the directory begins; a multiple of the cluster size.
        public var directoryOffset: UInt64
    }

    /// Where the LUKS header lies.
    public struct EncryptionHeader: Hashable, Sendable {
        /// Where it begins; a multiple of the cluster size.
        public var offset: UInt64
        /// Its bytes.
        public var length: UInt64
    }

    /// An extension of a type that the specification does not give.
    public struct Unknown: Hashable, Sendable {
        /// Its type.
        public var type: UInt32
        /// The bytes of its data.
        public var length: UInt32
    }

    /// The format of the backing file, as "raw" or "qcow2".
    public var backingFormat: String?
    /// What the feature bits are called.
    public var featureNames: [FeatureName] = []
    /// Where the bitmap directory lies.
    public var bitmaps: Bitmaps?
    /// Where the LUKS header lies.
    public var encryptionHeader: EncryptionHeader?
    /// The external data file's name, as stored.
    public var dataFile: [UInt8]?
    /// Which disk an overlay was made over, in a form of this project. QEMU keeps it, as all that it does not know.
    public var baseIdentity: [UInt8]?
    /// What else there is, in the image's order.
    public var unknown: [Unknown] = []

    /// None.
    init() {}

    /// Parses the extensions from the reader's position up to `end`. A missing end record is legal.
    public init(parsing reader: inout ByteReader, upTo end: Int) throws(ParseFault) {
        while reader.position + 8 <= end {
            let start = reader.position
            let type: UInt32 = try reader.read(.big)
            let length: UInt32 = try reader.read(.big)
            if type == Kind.end { return }
            guard UInt64(length) <= UInt64(end - reader.position) else {
                throw ParseFault(
                    at: start,
                    "header extension 0x\(String(type, radix: 16)): has \(length) bytes, "
                        + "but only \(end - reader.position) are left for it")
            }
            var data = ByteReader(try reader.read(bytes: Int(length)))
            do throws(ParseFault) {
                try add(type, parsing: &data)
            } catch {
                throw ParseFault(at: start + 8 + error.position, error.message)
            }
            reader.align(to: 8)
        }
    }

    private mutating func add(_ type: UInt32, parsing data: inout ByteReader) throws(ParseFault) {
        switch type {
        case Kind.backingFormat:
            guard data.remaining < 16 else {
                throw ParseFault(at: 0, "backing format: has \(data.remaining) bytes, but at most 15 are allowed")
            }
            // Ends at a NUL, as in QEMU; nothing is no format.
            let name = data.bytes.prefix { $0 != 0 }
            backingFormat = name.isEmpty ? nil : String(decoding: name, as: UTF8.self)
        case Kind.featureNames:
            while data.remaining >= 48 {
                let kind: UInt8 = try data.read(.big)
                let bit: UInt8 = try data.read(.big)
                let name = try data.read(bytes: 46).prefix { $0 != 0 }
                let text = String(decoding: name, as: UTF8.self)
                featureNames.append(FeatureName(kind: FeatureName.Kind(rawValue: kind), bit: bit, name: text))
            }
        case Kind.bitmaps:
            guard data.remaining == 24 else {
                throw ParseFault(at: 0, "bitmaps extension: has \(data.remaining) bytes, but must have 24")
            }
            let count: UInt32 = try data.read(.big)
            try data.skip(4)
            bitmaps = Bitmaps(
                count: count, directorySize: try data.read(.big), directoryOffset: try data.read(.big))
        case Kind.encryptionHeader:
            guard data.remaining >= 16 else {
                throw ParseFault(at: 0, "encryption header pointer: has \(data.remaining) bytes, but must have 16")
            }
            encryptionHeader = EncryptionHeader(offset: try data.read(.big), length: try data.read(.big))
        case Kind.dataFile:
            dataFile = data.bytes
        case Kind.baseIdentity:
            baseIdentity = data.bytes
        default:
            unknown.append(Unknown(type: type, length: UInt32(data.bytes.count)))
        }
    }
}

extension HeaderExtensions {
    /// Appends the extensions and the end record, in the order that QEMU has; without those of unknown types, of which
    /// only the length is kept.
    func encode(into writer: inout ByteWriter) {
        if let backingFormat { Self.encode(Kind.backingFormat, Array(backingFormat.utf8), into: &writer) }
        if let dataFile { Self.encode(Kind.dataFile, dataFile, into: &writer) }
        if let encryptionHeader {
            var data = ByteWriter()
            data.write(encryptionHeader.offset, .big)
            data.write(encryptionHeader.length, .big)
            Self.encode(Kind.encryptionHeader, data.bytes, into: &writer)
        }
        if !featureNames.isEmpty {
            var data = ByteWriter()
            for feature in featureNames {
                let end = data.position + 48
                // No kind has the number 255.
                data.write(feature.kind?.rawValue ?? .max, .big)
                data.write(feature.bit, .big)
                data.write(bytes: feature.name.utf8.prefix(46))
                data.pad(to: end)
            }
            Self.encode(Kind.featureNames, data.bytes, into: &writer)
        }
        if let bitmaps {
            var data = ByteWriter()
            data.write(bitmaps.count, .big)
            data.write(UInt32(0), .big)
            data.write(bitmaps.directorySize, .big)
            data.write(bitmaps.directoryOffset, .big)
            Self.encode(Kind.bitmaps, data.bytes, into: &writer)
        }
        if let baseIdentity { Self.encode(Kind.baseIdentity, baseIdentity, into: &writer) }
        Self.encode(Kind.end, [], into: &writer)
    }

    private static func encode(_ type: UInt32, _ data: [UInt8], into writer: inout ByteWriter) {
        writer.write(type, .big)
        writer.write(UInt32(clamping: data.count), .big)
        writer.write(bytes: data)
        writer.align(to: 8)
    }
}
