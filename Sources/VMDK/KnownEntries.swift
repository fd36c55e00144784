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
