import BlockImage
import ByteFormat

/// How the clusters of a format lie in its files, as far as a check needs to know it.
public struct ClusterSpace: Sendable {
    /// Where clusters are counted from: each lies at a multiple of its size from there on. What comes before is no space for
    /// clusters.
    public var start: UInt64
    /// What is counted as lost where nothing uses it.
    public enum Leaks: Sendable {
        /// Nothing: it cannot be told.
        case unknown
        /// Clusters that the file has as a whole.
        case whole
        /// The last one, too, in which the file ends.
        case all
    }

    /// What is counted as lost.
    public var leaks: Leaks

    /// Clusters from `start` on.
    public init(from start: UInt64, leaks: Leaks) {
        self.start = start
        self.leaks = leaks
    }
}

extension ClusterMap {
    /// The most clusters that a file may have to be checked, as for QCOW2.
    private static let clusterLimit: UInt64 = 1 << 31 - 1

    /// Checks the tables against the file and against each other, and adds what is found to `result`. Reads no data of the
    /// disk. `progress` gets the part that is done, 0 to 1. Answers where the last cluster of the file begins that is used.
    ///
    /// Throws `unsupported` where checking would take too much, and what reading the file throws.
    @discardableResult
    public func check(
        _ space: ClusterSpace, into result: inout CheckResult, progress: (Double) -> Void
    ) throws(ImageError) -> UInt64? {
        guard file.size / clusterSize <= Self.clusterLimit else {
            throw ImageError(
                .unsupported, path: file.path,
                "the file has \(file.size / clusterSize) clusters, more than are checked (\(Self.clusterLimit))")
        }
        var check = ClusterCheck(self, space, result)
        try check.run(progress)
        result = check.result
        return check.highest
    }
}

/// A check while it runs.
private struct ClusterCheck {
    let map: ClusterMap
    let space: ClusterSpace
    var result: CheckResult
    private var used = ClusterSet()
    /// The clusters that have a part of compressed ones, which share them with each other.
    private var shared = ClusterSet()
    private var tables: Set<HostOffset> = []
    /// Where the last cluster of the file begins that is used.
    private(set) var highest: UInt64?
    /// The last entry, and where the cluster that it names ends.
    private var previous: (index: Int, end: UInt64)?

    init(_ map: ClusterMap, _ space: ClusterSpace, _ result: CheckResult) {
        self.map = map
        self.space = space
        self.result = result
    }

    mutating func run(_ progress: (Double) -> Void) throws(ImageError) {
        result.totalClusters = map.clusterCount
        let tableSize = UInt64(map.first.count).multipliedReportingOverflow(by: UInt64(map.first.entrySize))
        if map.first.offset.rawValue >= space.start {
            // The first table has a place of its own.
            mark(map.first.offset.rawValue, tableSize.overflow ? .max : tableSize.partialValue)
        }
        var walk = ClusterWalk(map)
        let count = max(map.neededFirstCount, 1)
        var inner = ClusterWalk(map)
        try walk.visitFirst { (entry) throws(ImageError) in
            progress(Double(entry.index) / Double(count))
            guard map.second != nil else { return judge(entry) }
            guard let table = judgeTable(entry) else { return }
            previous = nil
            try inner.visit(table, of: entry) { (entry) in judge(entry) }
        }
        if space.leaks != .unknown { countLeaks() }
    }

    /// Adds a finding about `entry`.
    private mutating func add(
        _ kind: CheckFinding.Kind, _ entry: ClusterWalk.Entry, at place: HostOffset? = nil,
        _ message: @autoclosure () -> String
    ) {
        let (path, guest) = (map.file.path, GuestOffset(entry.guest))
        result.add(kind, .corruption, in: entry.table.offset.rawValue, at: place ?? entry.offset) {
            CheckFinding(
                kind, .corruption, path: path, at: place ?? entry.offset, guest: guest,
                "\(entry.table.name), entry \(entry.index) (guest offset \(guest)): \(message())")
        }
    }

    /// The table that `entry` of the first one names, where it can be walked over, and is so for the first time.
    private mutating func judgeTable(_ entry: ClusterWalk.Entry) -> TableLocation? {
        let fileEnd = HostOffset(map.file.size)
        let offset: HostOffset
        do throws(ParseFault) {
            guard let named = try map.entries.table(of: entry.stored) else { return nil }
            offset = named
        } catch {
            add(.entry, entry, error.message)
            return nil
        }
        guard let table = map.table(of: entry.stored) else {
            add(.outOfFile, entry, at: offset, "points to a table at \(offset), but the file ends at \(fileEnd)")
            return nil
        }
        guard tables.insert(offset).inserted else {
            add(.overlap, entry, at: offset, "points to the table at \(offset), which another entry points to as well")
            return nil
        }
        let size = UInt64(table.count * table.entrySize)
        if map.file.size - offset.rawValue < size {
            add(.outOfFile, entry, at: offset, "its table at \(offset) is cut by the end of the file at \(fileEnd)")
        }
        if !mark(offset.rawValue, size) {
            add(.overlap, entry, at: offset, "its table at \(offset) lies where something else does")
        }
        return table
    }

    private mutating func judge(_ entry: ClusterWalk.Entry) {
        let fileEnd = HostOffset(map.file.size)
        let place: ClusterPlace
        do throws(ParseFault) {
            place = try map.entries.place(of: entry.stored)
        } catch {
            return add(.entry, entry, error.message)
        }
        let (host, size, isCompressed): (HostOffset, UInt64, Bool)
        switch place {
        case .unallocated, .zero: return
        case .data(let offset): (host, size, isCompressed) = (offset, map.clusterSize, false)
        case .compressed(let offset, let count): (host, size, isCompressed) = (offset, count, true)
        }
        guard host < fileEnd else {
            return add(.outOfFile, entry, at: host, "points to a cluster at \(host), but the file ends at \(fileEnd)")
        }
        result.allocatedClusters += 1
        if isCompressed { result.compressedClusters += 1 }
        highest = max(highest ?? 0, host.rawValue)
        // As QEMU counts: in a table of clusters that is the only one, a gap begins a new run.
        if let previous, previous.end != host.rawValue, map.second != nil || previous.index + 1 == entry.index {
            result.fragmentedClusters += 1
        }
        previous = (entry.index, host.rawValue.addingReportingOverflow(size).partialValue)
        // Of the last cluster of the disk, no more is needed than the disk has.
        let needed = isCompressed ? size : min(size, map.virtualSize - entry.guest)
        if map.file.size - host.rawValue < needed {
            add(.outOfFile, entry, at: host, "its cluster at \(host) is cut by the end of the file at \(fileEnd)")
        }
        if host.rawValue < space.start {
            add(.overlap, entry, at: host, "its cluster at \(host) lies where the header or the tables do")
        } else if !mark(host.rawValue, size, isCompressed: isCompressed) {
            add(.overlap, entry, at: host, "its cluster at \(host) lies where something else does")
        }
    }

    /// Notes that the `count` bytes at `offset` are used; false where another use has some of them.
    @discardableResult
    private mutating func mark(_ offset: UInt64, _ count: UInt64, isCompressed: Bool = false) -> Bool {
        let last = min(offset.addingReportingOverflow(count).overflow ? .max : offset + count, map.file.size)
        guard offset >= space.start, last > offset else { return true }
        var isFree = true
        for cluster in (offset - space.start) / map.clusterSize...(last - 1 - space.start) / map.clusterSize {
            if isCompressed, !shared.insert(cluster) { continue }
            if !used.insert(cluster) { isFree = false }
        }
        return isFree
    }

    /// Space of whole clusters, and of a last one that the file ends in, that nothing uses.
    private mutating func countLeaks() {
        guard map.file.size > space.start else { return }
        let room = map.file.size - space.start
        let hasTail = space.leaks == .all && room % map.clusterSize != 0
        let clusters = room / map.clusterSize + (hasTail ? 1 : 0)
        let leaked = clusters - min(clusters, used.count)
        guard leaked > 0 else { return }
        let path = map.file.path
        result.add(
            CheckFinding(
                .leak, .leak, path: path, times: leaked,
                "\(counted(leaked, "cluster")) of the file \(leaked == 1 ? "is" : "are") used by nothing"))
    }
}
