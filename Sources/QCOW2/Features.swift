/// Header bits that a reader must understand; otherwise it must refuse the image.
public struct IncompatibleFeatures: OptionSet, Hashable, Sendable {
    /// The bits as stored.
    public let rawValue: UInt64
    /// The features whose bits are set in `rawValue`.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Refcounts may be stale: no matter to a reader.
    public static let dirty = Self(rawValue: 1 << 0)
    /// Metadata was found damaged: readable, not writable.
    public static let corrupt = Self(rawValue: 1 << 1)
    /// The guest's data lies in a file of its own.
    public static let externalDataFile = Self(rawValue: 1 << 2)
    /// `compressionType` is not deflate.
    public static let compressionType = Self(rawValue: 1 << 3)
    /// L2 entries of 16 bytes, with subclusters.
    public static let extendedL2 = Self(rawValue: 1 << 4)
}

/// Header bits that a reader may ignore.
public struct CompatibleFeatures: OptionSet, Hashable, Sendable {
    /// The bits as stored.
    public let rawValue: UInt64
    /// The features whose bits are set in `rawValue`.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Refcounts are written late.
    public static let lazyRefcounts = Self(rawValue: 1 << 0)
}

/// Header bits that a writer clears when it does not understand them.
public struct AutoclearFeatures: OptionSet, Hashable, Sendable {
    /// The bits as stored.
    public let rawValue: UInt64
    /// The features whose bits are set in `rawValue`.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The bitmaps extension is consistent with the data.
    public static let bitmaps = Self(rawValue: 1 << 0)
    /// The external data file is the disk, byte for byte.
    public static let rawExternalData = Self(rawValue: 1 << 1)
}

/// One line of the feature name table: what a feature bit is called by the program that set it.
public struct FeatureName: Hashable, Sendable {
    /// Which of the header's three feature fields the bit is in.
    public enum Kind: UInt8, Sendable {
        /// `incompatibleFeatures`
        case incompatible = 0
        /// `compatibleFeatures`
        case compatible = 1
        /// `autoclearFeatures`
        case autoclear = 2
    }

    /// The field that the bit is in; nil for a kind that the format does not have.
    public var kind: Kind?
    /// The bit's number, 0 to 63.
    public var bit: UInt8
    /// Its name; bytes that are not UTF-8 are replaced.
    public var name: String
}

extension FeatureName {
    /// The bits that the specification gives, which every reader of today knows by name.
    static let specified = [
        FeatureName(kind: .incompatible, bit: 0, name: "dirty bit"),
        FeatureName(kind: .incompatible, bit: 1, name: "corrupt bit"),
        FeatureName(kind: .incompatible, bit: 2, name: "external data file"),
        FeatureName(kind: .incompatible, bit: 3, name: "compression type"),
        FeatureName(kind: .incompatible, bit: 4, name: "extended L2"),
        FeatureName(kind: .compatible, bit: 0, name: "lazy refcounts"),
        FeatureName(kind: .autoclear, bit: 0, name: "bitmaps"),
        FeatureName(kind: .autoclear, bit: 1, name: "raw external data"),
    ]

    /// What `table` calls the bit `bit` of a field; nil where it has no name for it.
    static func name(of bit: Int, _ kind: Kind, in table: [FeatureName]) -> String? {
        table.first { $0.kind == kind && Int($0.bit) == bit }?.name
    }
}

extension IncompatibleFeatures {
    /// The names of the bits that are set: those of the specification, else of the image's feature name table.
    public func names(in table: [FeatureName]) -> [String] {
        (0..<64).filter { rawValue & (1 << UInt64($0)) != 0 }.map { bit in
            if let name = FeatureName.name(of: bit, .incompatible, in: FeatureName.specified) { return name }
            let named = FeatureName.name(of: bit, .incompatible, in: table)
            return named.map { "\($0) (bit \(bit))" } ?? "unknown (bit \(bit))"
        }
    }
}
