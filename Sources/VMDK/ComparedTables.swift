import BlockImage

/// What the two copies of one grain table come to, where the first says nothing of grains that the redundant one has.
struct ComparedTables {
    /// The entries of the first table, with what only the redundant one has in the places of zeros.
    var entries: [UInt64]
    /// How many entries the redundant table gave.
    var recovered = 0
    /// The places where only the redundant table has an entry, and the two differ elsewhere too, so that it is unknown
    /// which of them is right.
    var conflicts: Set<Int> = []
}

extension GrainTables {
    /// Compares the grain table `table` with its redundant `copy`; nil where the copy has no grain that the table has not.
    ///
    /// Writers keep both alike. Where all that the table has is in the copy as well, the copy is whole and the table lost
    /// entries; of two that contradict each other neither can be trusted with what the other does not have.
    func compared(_ table: [UInt64], with copy: [UInt64]) -> ComparedTables? {
        let missing = (0..<min(table.count, copy.count)).filter { table[$0] == 0 && hasGrain(copy[$0]) }
        guard !missing.isEmpty else { return nil }
        var result = ComparedTables(entries: table)
        let isPart = zip(table, copy).allSatisfy { $0 == 0 || $0 == $1 }
        lazy var used = Set(table.filter { $0 != 0 })
        if isPart, missing.allSatisfy({ copy[$0] == 1 || !used.contains(copy[$0]) }) {
            for index in missing { result.entries[index] = copy[index] }
            result.recovered = missing.count
        } else {
            result.conflicts = Set(missing)
        }
        return result
    }

    /// Whether `entry` of a redundant table is one that could be meant.
    private func hasGrain(_ entry: UInt64) -> Bool {
        switch format.grain(entry) {
        case .unallocated, .invalid: false
        case .zeroed: true
        case .allocated(let sector): sector * sectorSize < file.size
        }
    }

    /// The first table of one place with what only its copy has; for a check, which reads them as a whole. Nil or empty
    /// stands for one that has no entry.
    func completed(_ table: [UInt64]?, with copy: [UInt64]?) -> [UInt64]? {
        guard let copy, !copy.isEmpty else { return table }
        let own = table ?? []
        let padded = own + Array(repeating: 0, count: copy.count - min(own.count, copy.count))
        return compared(padded, with: copy)?.entries ?? table
    }
}

/// Entries of a grain directory that were seen, as many as 24 MiB of memory hold: a hostile directory can name one grain
/// table again and again, and 2^25 different ones.
struct KnownEntries {
    private static let limit = 1 << 20
    private var entries: Set<UInt64> = []

    /// Whether `entry` was not seen before, as far as is known.
    mutating func insert(_ entry: UInt64) -> Bool {
        guard entries.count < Self.limit else { return !entries.contains(entry) }
        return entries.insert(entry).inserted
    }
}
