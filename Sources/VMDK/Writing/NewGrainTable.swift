import ByteFormat

/// A grain table that is being filled. As grains come in the order of the disk, one is filled at a time.
struct NewGrainTable {
    /// Its place among the grain tables.
    let index: Int
    private var entries = [UInt32](repeating: 0, count: Self.entryCount)

    /// How many entries it has, as in all that VMware writes (numGTEsPerGT).
    static let entryCount = 512
    /// The sectors that it takes.
    static let sectors: UInt64 = 4

    /// The table at `index`, of no grains.
    init(index: Int) {
        self.index = index
    }

    /// Which grain table has the entry of `grain`.
    static func index(of grain: UInt64) -> Int {
        // An extent has at most 2^25 tables.
        Int(grain / UInt64(entryCount))
    }

    /// The entry of `grain`, which must be one of its own: the sector of the grain, 0 for none, or 1 for zeros.
    subscript(grain: UInt64) -> UInt32 {
        get { entries[Int(grain % UInt64(Self.entryCount))] }
        set { entries[Int(grain % UInt64(Self.entryCount))] = newValue }
    }

    /// The bytes that it takes.
    var encoded: [UInt8] { encodeTable(entries, .little) }
}
