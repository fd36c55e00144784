/// A structure of an image file as `inspect` shows it: a header, an extension, a table.
public struct LayoutStructure: Hashable, Sendable {
    /// What it is called, in the format's own terms.
    public var name: String
    /// Where it begins in the file; nil for what has no one place.
    public var offset: HostOffset?
    /// How many bytes it takes; nil where that is not known.
    public var size: UInt64?

    /// The structure `name` in the `size` bytes at `offset`.
    public init(_ name: String, at offset: HostOffset?, size: UInt64?) {
        self.name = name
        self.offset = offset
        self.size = size
    }
}

/// One field of a structure as it stands in the file.
public struct LayoutField: Hashable, Sendable {
    /// The most bytes of a field that are shown as they are.
    public static let rawLimit = 64

    /// The specification's name for it.
    public var name: String
    /// Where it begins in the file.
    public var offset: HostOffset
    /// How many bytes it takes.
    public var size: UInt64
    /// Its bytes in the file's order, the first `rawLimit` of them; fewer than `size` as well where the file ends
    /// early, none where they are kept back, as those of salts.
    public var raw: [UInt8]
    /// The number that it is; nil for texts and the like.
    public var number: UInt64?
    /// What it means, for people: no text of the image stands in it that could do more than be shown.
    public var value: ErrorText
    /// What is wrong with it and what it must be; nil where nothing is.
    public var fault: ErrorText?

    /// A field with all that is known of it.
    public init(
        _ name: String, at offset: HostOffset, size: UInt64, raw: [UInt8], number: UInt64? = nil, value: ErrorText,
        fault: ErrorText? = nil
    ) {
        self.name = name
        self.offset = offset
        self.size = size
        self.raw = raw
        self.number = number
        self.value = value
        self.fault = fault
    }
}

/// An entry of a table, or a run of equal ones that say "nothing here".
public struct LayoutEntry: Hashable, Sendable {
    /// Something that an entry says.
    public struct Fact: Hashable, Sendable {
        /// What it is.
        public enum Value: Hashable, Sendable {
            /// A place, which people read in hexadecimal.
            case offset(UInt64)
            /// A part of the disk: its start and its bytes. For a run of entries, those of the first.
            case range(UInt64, UInt64)
            /// A count or a size.
            case number(UInt64)
            /// Something that holds.
            case flag
            /// A word.
            case text(String)
        }

        /// What is said: "host", "refcount".
        public var name: String
        /// What is said of it.
        public var value: Value

        /// That `name` is `value`.
        public init(_ name: String, _ value: Value) {
            self.name = name
            self.value = value
        }
    }

    /// Its place in the table, counted from 0.
    public var index: UInt64
    /// How many entries it stands for; more than 1 for a run of equal ones.
    public var count: UInt64
    /// Where it begins in the file.
    public var offset: HostOffset
    /// The words that it is stored as.
    public var raw: [UInt64]
    /// What it says.
    public var facts: [Fact]
    /// What is wrong with it and what it must be; nil where nothing is.
    public var fault: String?

    /// An entry with all that is known of it.
    public init(
        _ index: UInt64, count: UInt64 = 1, at offset: HostOffset, raw: [UInt64], facts: [Fact], fault: String? = nil
    ) {
        self.index = index
        self.count = count
        self.offset = offset
        self.raw = raw
        self.facts = facts
        self.fault = fault
    }
}

/// What takes the structures of a file, one after another, so that none of them need be held in memory.
///
/// Between `begin` and `end` of a structure come its fields, then its entries, then the structures that belong to it;
/// faults and what is left out at any time. What it throws ends the listing. For use by one thread.
public protocol LayoutConsumer: AnyObject {
    /// A structure begins; it belongs to the one that has begun and not ended yet.
    func begin(_ structure: LayoutStructure) throws(ImageError)
    /// The structure has this field.
    func add(_ field: LayoutField) throws(ImageError)
    /// The table has this entry.
    func add(_ entry: LayoutEntry) throws(ImageError)
    /// Something is wrong with the structure as a whole, or it cannot be read: what, and what must be.
    func fault(_ message: ErrorText) throws(ImageError)
    /// Something to know of the structure, with which nothing is wrong.
    func note(_ message: ErrorText) throws(ImageError)
    /// `count` things called `what` are left out, because of the limit that was asked for.
    func omit(_ count: UInt64, _ what: String) throws(ImageError)
    /// The structure ends.
    func end() throws(ImageError)
}

extension LayoutConsumer {
    /// Tells of a structure all of which is said in `body`.
    public func structure(
        _ structure: LayoutStructure, _ body: () throws(ImageError) -> Void
    ) throws(ImageError) {
        try begin(structure)
        try body()
        try end()
    }
}

/// How much is listed.
public struct LayoutOptions: Sendable {
    /// Whether the entries of the second tables are listed: L2 entries, grain table entries, and the markers of streams.
    public var showsEntries: Bool
    /// The most entries of each kind of table that are listed, all tables of the kind together.
    public var entryLimit: UInt64

    /// Lists at most `entryLimit` entries of each kind, those of the second tables where `showsEntries`.
    public init(showsEntries: Bool = false, entryLimit: UInt64 = .max) {
        self.showsEntries = showsEntries
        self.entryLimit = entryLimit
    }
}

/// Lists entries of one kind up to a limit, runs of equal empty ones as one, and says what is left out.
public struct LayoutEntryLister {
    private let consumer: any LayoutConsumer
    private let what: String
    private var left: UInt64
    private var omitted: UInt64 = 0
    private var run: LayoutEntry?

    /// A lister of at most `limit` entries called `what`.
    public init(_ consumer: any LayoutConsumer, _ what: String, limit: UInt64) {
        self.consumer = consumer
        self.what = what
        left = limit
    }

    /// Whether no more entries will be listed.
    public var isExhausted: Bool { left == 0 }

    /// Tells of `entry`; one that is part of a run is kept until the run ends. `isEmpty`: it says "nothing here".
    public mutating func add(_ entry: LayoutEntry, isEmpty: Bool) throws(ImageError) {
        if isEmpty, entry.fault == nil {
            if run == nil { run = entry } else { run?.count += entry.count }
            return
        }
        try flush()
        try send(entry)
    }

    /// Counts `count` entries as left out that were not looked at.
    public mutating func omit(_ count: UInt64) {
        omitted += min(count, .max - omitted)
    }

    /// Ends a table: tells of the run that is kept, and of what was left out.
    public mutating func finish() throws(ImageError) {
        try flush()
        if omitted > 0 { try consumer.omit(omitted, what) }
        omitted = 0
    }

    private mutating func flush() throws(ImageError) {
        guard let ended = run else { return }
        run = nil
        try send(ended)
    }

    private mutating func send(_ entry: LayoutEntry) throws(ImageError) {
        guard left > 0 else { return omit(entry.count) }
        left -= 1
        try consumer.add(entry)
    }
}
