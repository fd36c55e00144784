/// What a file system has that a reader must know, as the superblock says it (s_feature_incompat).
struct ExtFeatures: OptionSet, Hashable, Sendable {
    let rawValue: UInt32

    static let filetype = Self(rawValue: 0x2)
    /// The journal has what is not in its place yet.
    static let recover = Self(rawValue: 0x4)
    static let metaBG = Self(rawValue: 0x10)
    static let extents = Self(rawValue: 0x40)
    static let wide = Self(rawValue: 0x80)
    static let multiMount = Self(rawValue: 0x100)
    static let flexBG = Self(rawValue: 0x200)
    static let valueInodes = Self(rawValue: 0x400)
    static let checksumSeed = Self(rawValue: 0x2000)
    static let largeDirectories = Self(rawValue: 0x4000)
    static let inlineData = Self(rawValue: 0x8000)
    static let encryption = Self(rawValue: 0x1_0000)
    static let casefold = Self(rawValue: 0x2_0000)

    /// Those that are read.
    static let known: Self = [
        .filetype, .recover, .metaBG, .extents, .wide, .multiMount, .flexBG, .valueInodes, .checksumSeed,
        .largeDirectories, .inlineData, .encryption, .casefold,
    ]

    /// What e2fsprogs calls each of the 32 that are not read.
    var unknownNames: [String] {
        let names: [UInt32: String] = [0x1: "compression", 0x8: "journal_dev", 0x1000: "dirdata"]
        let unknown = subtracting(.known).rawValue
        return (0..<32).map { UInt32(1) << $0 }.filter { unknown & $0 != 0 }.map {
            names[$0] ?? "FEATURE_I\($0.trailingZeroBitCount)"
        }
    }
}

/// What a file system has that a writer must know (s_feature_ro_compat); readers need not know others.
struct ExtWriterFeatures: OptionSet, Hashable, Sendable {
    let rawValue: UInt32

    static let sparseSuper = Self(rawValue: 0x1)
    static let largeFile = Self(rawValue: 0x2)
    static let btreeDirectories = Self(rawValue: 0x4)
    static let hugeFile = Self(rawValue: 0x8)
    static let groupChecksums = Self(rawValue: 0x10)
    static let bigalloc = Self(rawValue: 0x200)
    static let metadataChecksums = Self(rawValue: 0x400)

    /// Those that ext2 and ext3 have.
    static let ofExt3: Self = [.sparseSuper, .largeFile, .btreeDirectories]
}
