import BlockImage

/// Looks for the entries of a log that are to be replayed: the active sequence (MS-VHDX 2.3.3).
struct LogSearch {
    /// An entry that is whole.
    struct Entry: Hashable {
        var header: LogEntryHeader
        var position: UInt32
    }

    /// The largest log that is searched: one of Hyper-V has 1 MiB.
    static let lengthLimit: UInt32 = 256 << 20

    private let area: LogArea
    /// What begins at places that were looked at; nil: nothing.
    private var known: [UInt32: Entry?] = [:]
    /// How many bytes of entries may still be read. Entries of a writer overlap only what is left of older ones: four times the
    /// log is enough for them.
    private var bytesLeft: UInt64

    init(_ area: LogArea) {
        self.area = area
        bytesLeft = UInt64(area.length) * 4
    }

    /// The entries of the active sequence, in their order; none where no sequence is valid: then nothing was written yet after the log
    /// was begun.
    ///
    /// A sequence is a run of entries numbered without a gap; it is valid where the entry at which its last one says that it
    /// begins is in it. Of the valid ones, the one whose last entry has the highest number is active.
    mutating func activeSequence() throws(ImageError) -> [Entry] {
        var active: [Entry] = []
        var position: UInt64 = 0
        while position < UInt64(area.length) {
            try ReadScope.checkWanted()
            let sequence = try sequence(at: UInt32(position))
            // A part of a sequence that is not valid ends with the same entry, and is not valid either.
            position += max(
                sequence.reduce(0) { $0 + UInt64($1.header.entryLength) }, UInt64(LogEntryHeader.sectorSize))
            guard let last = sequence.last, last.header.sequenceNumber > active.last?.header.sequenceNumber ?? 0,
                let first = sequence.firstIndex(where: { $0.position == last.header.tail })
            else { continue }
            active = Array(sequence[first...])
        }
        return active
    }

    /// The run of entries that begins at `start`.
    private mutating func sequence(at start: UInt32) throws(ImageError) -> [Entry] {
        var entries: [Entry] = []
        var size: UInt64 = 0
        var position = start
        while let entry = try entry(at: position) {
            size += UInt64(entry.header.entryLength)
            if let last = entries.last?.header.sequenceNumber {
                guard last < .max, entry.header.sequenceNumber == last + 1, size <= UInt64(area.length) else { break }
            }
            entries.append(entry)
            position = area.position(position, advancedBy: entry.header.entryLength)
        }
        return entries
    }

    /// The entry that begins at `position`; nil where none does, or it is not whole.
    private mutating func entry(at position: UInt32) throws(ImageError) -> Entry? {
        if let entry = known[position] { return entry }
        var found: Entry?
        if let header = try area.header(at: position) {
            guard UInt64(header.entryLength) <= bytesLeft else {
                throw ImageError(
                    .corrupt, path: area.file.path, offset: area.hostOffset(of: position),
                    "log: its entries overlap each other, so that it cannot be known which are to be replayed")
            }
            bytesLeft -= UInt64(header.entryLength)
            if try area.isWhole(header, at: position) { found = Entry(header: header, position: position) }
        }
        known.updateValue(found, forKey: position)
        return found
    }
}
