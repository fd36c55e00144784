/// One thing that a check of an image found.
public struct CheckFinding: Hashable, Sendable {
    /// What it means for the image.
    public enum Severity: String, Hashable, Sendable, Encodable {
        /// The image's structures contradict each other, or the format: data is lost, or may be lost by the next write.
        case corruption
        /// Host space is taken that nothing uses; no data is in danger.
        case leak
        /// Something could not be checked.
        case error
        /// Something that people should know, and that is not counted.
        case warning
    }

    /// What is wrong, by a name that stays the same from version to version.
    public enum Kind: String, Hashable, Sendable, Encodable, CaseIterable {
        /// Host space that is marked as used, and that nothing uses, or not as often.
        case leak
        /// Host space that is used more often than its refcount says.
        case refcount
        /// Host space that is used more often than its refcount can count.
        case refcountOverflow = "refcount-overflow"
        /// A refcount block, or an entry of the refcount table, that cannot be what it is said to be.
        case refcountBlock = "refcount-block"
        /// The same host space is used by things that must not share it.
        case overlap
        /// A COPIED flag that contradicts the refcount.
        case copiedFlag = "copied-flag"
        /// An offset that is no multiple of what it must be a multiple of.
        case alignment
        /// An offset that does not lie in the file.
        case outOfFile = "out-of-file"
        /// Bits are set that have no meaning.
        case reservedBits = "reserved-bits"
        /// An entry of a table that contradicts itself or the header.
        case entry
        /// Something about an internal snapshot.
        case snapshot
        /// Something about a dirty bitmap, or one of the sectors of a block.
        case bitmap
        /// Something about the header of an encryption.
        case encryption
        /// A flag of the header that says how the image was left.
        case flag
        /// A structure whose checksum is wrong, or whose copies differ: those of a VMDK grain directory, of a VHD footer.
        case redundancy
        /// A marker of a stream that contradicts the grain tables.
        case marker
        /// The content identifier of a parent, or its UUID.
        case contentID = "content-id"
        /// Something about a descriptor.
        case descriptor
        /// Another file of the chain, or one that holds a part of the disk.
        case chain
        /// A file of an appliance that is not as its manifest says.
        case manifest
        /// The archive of an appliance, or a disk in it that cannot be opened.
        case archive
        /// The digest of a disk that is stored with it.
        case digest
        /// Bytes of the disk that cannot be read or inflated.
        case data
    }

    /// What is wrong.
    public var kind: Kind
    /// What it means for the image.
    public var severity: Severity
    /// The file that it is about.
    public var path: String
    /// The byte of the file that it is about, where there is one.
    public var hostOffset: HostOffset?
    /// The byte of the disk that it is about, where there is one.
    public var guestOffset: GuestOffset?
    /// How often it counts: a table that is used several times has its faults several times.
    public var times: UInt64
    /// Where and what it is, and what it must be; without the file.
    public var message: ErrorText
    /// How many more findings of the same kind there are in the same table behind it, which are not told one by one.
    public var more: UInt64 = 0
    /// Where the last of those is.
    public var lastOffset: HostOffset?
    /// Whether it is about a place of the host that is used, so that a check can say by what.
    public var hasUsers = false

    /// A finding about `path`.
    public init(
        _ kind: Kind, _ severity: Severity, path: String, at hostOffset: HostOffset? = nil,
        guest guestOffset: GuestOffset? = nil, times: UInt64 = 1, _ message: ErrorText
    ) {
        self.kind = kind
        self.severity = severity
        self.path = path
        self.hostOffset = hostOffset
        self.guestOffset = guestOffset
        self.times = times
        self.message = message
    }
}

/// What a check of one image found, and how much of it.
public struct CheckResult: Sendable {
    /// The most findings of one kind that are kept; the counts go on. So what is rare is not lost among what is not: a
    /// damaged table of 2 MiB alone can have 262,144 findings of one kind.
    public static let findingLimit = 1000
    /// The most findings of one kind in one table that are kept: the others are counted with the last of these.
    public static let tableLimit = 10

    /// How many corruptions there are.
    public private(set) var corruptions: UInt64 = 0
    /// How many leaked clusters there are.
    public private(set) var leaks: UInt64 = 0
    /// How many things could not be checked.
    public private(set) var checkErrors: UInt64 = 0
    /// The end of the last host cluster in use; nil for formats that do not count use.
    public var imageEndOffset: UInt64?
    /// The clusters of the disk; nil for formats without clusters.
    public var totalClusters: UInt64?
    /// Those of them that have a place on the host.
    public var allocatedClusters: UInt64 = 0
    /// Those of them that do not lie behind their neighbour.
    public var fragmentedClusters: UInt64 = 0
    /// Those of them that are compressed.
    public var compressedClusters: UInt64 = 0
    /// What was found, up to `findingLimit` of each kind, in the order in which it was.
    public private(set) var findings: [CheckFinding] = []
    /// How many findings of each kind were not kept, nor counted with one that was.
    public private(set) var omitted: [CheckFinding.Kind: UInt64] = [:]
    private var kept: [CheckFinding.Kind: Int] = [:]
    /// Of each kind, the table that the last finding was in, how many are kept of it, and which is the last of these.
    private var tables: [CheckFinding.Kind: (table: UInt64, count: Int, last: Int)] = [:]
    /// How many findings there were in all.
    public private(set) var findingCount: UInt64 = 0

    /// Nothing found yet.
    public init() {}

    /// Counts `finding`, and keeps it while there is room.
    public mutating func add(_ finding: CheckFinding) {
        add(finding.kind, finding.severity, times: finding.times, at: finding.hostOffset) { finding }
    }

    /// Counts a finding of this kind and severity that counts `times` times, and keeps it while there is room; it is not
    /// even made otherwise, as a hostile image can have a billion.
    ///
    /// `table` tells the tables, or the ranges of a file, apart in which such findings are, one table after the other: of
    /// many in one table the first are kept.
    public mutating func add(
        _ kind: CheckFinding.Kind, _ severity: CheckFinding.Severity, times: UInt64 = 1, in table: UInt64? = nil,
        at offset: HostOffset? = nil, _ finding: () -> CheckFinding
    ) {
        switch severity {
        case .corruption: Self.count(times, in: &corruptions)
        case .leak: Self.count(times, in: &leaks)
        case .error: Self.count(times, in: &checkErrors)
        case .warning: break
        }
        findingCount += 1
        if let table, let known = tables[kind], known.table == table, known.count >= Self.tableLimit {
            findings[known.last].more += 1
            findings[known.last].lastOffset = offset
            return
        }
        guard kept[kind, default: 0] < Self.findingLimit else {
            omitted[kind, default: 0] += 1
            return
        }
        kept[kind, default: 0] += 1
        if let table {
            let count = tables[kind].map { $0.table == table ? $0.count : 0 } ?? 0
            tables[kind] = (table, count + 1, findings.count)
        }
        findings.append(finding())
    }

    /// Adds `sentence` to the message of the kept finding `index`.
    public mutating func explain(_ index: Int, _ sentence: ErrorText) {
        findings[index].message += sentence
    }

    /// A hostile image can have more of everything than fits into 64 bits.
    private static func count(_ times: UInt64, in counter: inout UInt64) {
        let (sum, overflow) = counter.addingReportingOverflow(times)
        counter = overflow ? .max : sum
    }
}
