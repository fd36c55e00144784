import BlockImage

/// Passes a listing on as far as a page holds it: of each table some entries, and of all what has a size that browsers
/// can bear. What is wrong is passed on first. What is left out is counted. For use by one thread.
final class BoundedLayout: LayoutConsumer {
    /// How many faults there were, those that are left out among them.
    private(set) var faultCount: UInt64 = 0

    /// The most entries of one table, if nothing is wrong with them.
    private static let entryLimit = 500
    private let next: any LayoutConsumer
    /// How many fields, entries and structures are passed on yet; and of those with which something is wrong.
    private var left = 10_000
    private var faultsLeft = 2000

    /// A structure that has begun and was passed on.
    private struct Level {
        var entries = 0
        var omitted: [String: UInt64] = [:]
    }

    private var levels: [Level] = []
    /// The structures that have begun and were not passed on.
    private var skipped = 0

    /// Passes on to `next`.
    init(_ next: any LayoutConsumer) {
        self.next = next
    }

    /// Whether a part may be passed on; counts it.
    private func takes(isFaulty: Bool) -> Bool {
        if isFaulty { faultCount += 1 }
        guard skipped == 0 else { return false }
        if left > 0 {
            left -= 1
            return true
        }
        guard isFaulty, faultsLeft > 0 else { return false }
        faultsLeft -= 1
        return true
    }

    private func leaveOut(_ what: String, _ count: UInt64 = 1) {
        guard !levels.isEmpty else { return }
        let (sum, overflow) = levels[levels.count - 1].omitted[what, default: 0].addingReportingOverflow(count)
        levels[levels.count - 1].omitted[what] = overflow ? .max : sum
    }

    /// A structure begins.
    func begin(_ structure: LayoutStructure) throws(ImageError) {
        guard levels.isEmpty || takes(isFaulty: false) else {
            if skipped == 0 { leaveOut("structures") }
            skipped += 1
            return
        }
        levels.append(Level())
        try next.begin(structure)
    }

    /// The structure has this field.
    func add(_ field: LayoutField) throws(ImageError) {
        guard takes(isFaulty: field.fault != nil) else { return leaveOut(field.fault == nil ? "fields" : "faults") }
        try next.add(field)
    }

    /// The table has this entry.
    func add(_ entry: LayoutEntry) throws(ImageError) {
        // Runs of empty entries are of no interest to a page.
        guard entry.count == 1, entry.fault != nil || entry.raw.isEmpty || entry.raw.contains(where: { $0 != 0 }) else {
            return
        }
        if entry.fault == nil, skipped == 0, !levels.isEmpty {
            guard levels[levels.count - 1].entries < Self.entryLimit else { return leaveOut("entries") }
            levels[levels.count - 1].entries += 1
        }
        guard takes(isFaulty: entry.fault != nil) else { return leaveOut(entry.fault == nil ? "entries" : "faults") }
        try next.add(entry)
    }

    /// Something is wrong with the structure as a whole.
    func fault(_ message: ErrorText) throws(ImageError) {
        guard takes(isFaulty: true) else { return leaveOut("faults") }
        try next.fault(message)
    }

    /// Something to know of the structure.
    func note(_ message: ErrorText) throws(ImageError) {
        guard takes(isFaulty: false) else { return leaveOut("notes") }
        try next.note(message)
    }

    /// Things are left out already.
    func omit(_ count: UInt64, _ what: String) throws(ImageError) { leaveOut(what, count) }

    /// The structure ends.
    func end() throws(ImageError) {
        guard skipped == 0 else {
            skipped -= 1
            return
        }
        guard let level = levels.popLast() else { return }
        for (what, count) in level.omitted.sorted(by: { $0.key < $1.key }) { try next.omit(count, what) }
        try next.end()
    }
}
