import BlockImage
import ByteFormat

/// Counts uses, and nothing else: for the passes after the first.
struct CountingSink: UseSink {
    var counts: UseCounts

    mutating func use(_ clusters: ClosedRange<UInt64>, times: UInt64, by user: ClusterUser) {
        for cluster in clusters { counts.add(cluster, times: times, as: user.roles) }
    }

    mutating func outOfFile(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser) {}
    mutating func cut(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser) {}
    mutating func begin(_ table: L2TableUse) {}
    mutating func entry(_ entry: L2EntryPlace) {}
    mutating func bitmapEntry(_ index: Int, at offset: UInt64, times: UInt64, _ fault: String) {}
}

/// Finds the users of some clusters, a few of each.
struct NamingSink: UseSink {
    /// The most users that are named for a cluster.
    private static let limit = 4

    /// Who uses each of the clusters.
    var users: [UInt64: [String]] = [:]

    mutating func use(_ clusters: ClosedRange<UInt64>, times: UInt64, by user: ClusterUser) {
        for cluster in clusters {
            guard let known = users[cluster], known.count <= Self.limit else { continue }
            let name = times == 1 ? user.text : "\(user.text) (\(times) times)"
            users[cluster]?.append(known.count == Self.limit ? "others" : name)
        }
    }

    mutating func outOfFile(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser) {}
    mutating func cut(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser) {}
    mutating func begin(_ table: L2TableUse) {}
    mutating func entry(_ entry: L2EntryPlace) {}
    mutating func bitmapEntry(_ index: Int, at offset: UInt64, times: UInt64, _ fault: String) {}
}

/// Counts uses, and judges every entry: for the first pass.
struct JudgingSink: UseSink {
    let image: CheckedImage
    var counts: UseCounts
    var refcounts: Refcounts
    var result: CheckResult
    /// Where the next cluster of the active L2 table that is walked over would lie, were it not fragmented; 0: nowhere.
    private var expected: UInt64 = 0
    /// Whether the table's COPIED flags are judged: not where its own refcount is unknown, and not where it is none, as
    /// an L1 entry of flags alone names the header as a table.
    private var isTable = true

    init(image: CheckedImage, counts: UseCounts, refcounts: Refcounts, result: CheckResult) {
        self.image = image
        self.counts = counts
        self.refcounts = refcounts
        self.result = result
    }

    mutating func use(_ clusters: ClosedRange<UInt64>, times: UInt64, by user: ClusterUser) {
        for cluster in clusters { counts.add(cluster, times: times, as: user.roles) }
    }

    mutating func outOfFile(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser) {
        let guest: GuestOffset? =
            switch user {
            case .l2Table(let guest, _), .data(let guest, _), .compressed(let guest, _): guest
            default: nil
            }
        let group = guest.map { $0.rawValue / image.header.l2Coverage }
        result.add(.outOfFile, .corruption, times: times, in: group, at: HostOffset(offset)) {
            CheckFinding(
                .outOfFile, .corruption, path: image.file.path, at: HostOffset(offset), guest: guest, times: times,
                "\(user.text): is said to be \(counted(size, "byte")) at \(HostOffset(offset)), but the "
                    + "file ends at \(HostOffset(image.file.size))")
        }
    }

    /// Where the file was cut, what its end cuts is lost in part; else it was never written. The header's cluster
    /// is larger than the header, and the sectors of compressed data are more than its stream takes.
    mutating func cut(_ size: UInt64, at offset: UInt64, times: UInt64, by user: ClusterUser) {
        guard image.isCut else { return }
        var place: GuestOffset?
        switch user {
        case .header, .compressed: return
        case .l2Table(let guest, _), .data(let guest, _): place = guest
        default: break
        }
        // Together, and not among what lies past the end: all of these are uses of the last cluster.
        result.add(.outOfFile, .corruption, times: times, in: .max, at: HostOffset(offset)) {
            CheckFinding(
                .outOfFile, .corruption, path: image.file.path, at: HostOffset(image.file.size), guest: place,
                times: times,
                "\(user.text): is cut by the end of the file at \(HostOffset(image.file.size)): of its "
                    + "\(counted(size, "byte")) at \(HostOffset(offset)) the rest is lost")
        }
    }

    mutating func bitmapEntry(_ index: Int, at offset: UInt64, times: UInt64, _ fault: String) {
        result.add(.bitmap, .corruption, times: times, in: UInt64(index), at: HostOffset(offset)) {
            CheckFinding(
                .bitmap, .corruption, path: image.file.path, at: HostOffset(offset), times: times,
                "table of bitmap \(index): the entry at \(HostOffset(offset)) \(fault)")
        }
    }

    mutating func begin(_ table: L2TableUse) throws(ImageError) {
        expected = 0
        let refcount = try refcounts.refcount(of: table.offset / image.clusterSize)
        isTable = table.offset != 0 && refcount != nil
        guard table.offset % image.clusterSize != 0 else { return }
        let guest = GuestOffset(UInt64(table.l1Index) * image.header.l2Coverage)
        result.add(
            CheckFinding(
                .alignment, .corruption, path: image.file.path, at: HostOffset(table.offset), guest: guest,
                times: table.times,
                "L2 table for guest offset \(guest): is said to be at \(HostOffset(table.offset)), which is not aligned "
                    + "to the cluster size (\(image.clusterSize))"))
    }

    mutating func entry(_ place: L2EntryPlace) throws(ImageError) {
        judgeBits(place)
        switch place.kind {
        case .unallocated:
            if place.bitmap.hasAllocated {
                add(.entry, place, "says that subclusters are allocated, but has no host cluster")
            }
        case .plainZero: break
        case .compressed: judgeCompressed(place)
        case .normal, .allocatedZero: try judgeCluster(place)
        }
    }

    /// Adds a fault of the entry; it counts once for each use of its table.
    private mutating func add(
        _ kind: CheckFinding.Kind, _ place: L2EntryPlace, times: UInt64? = nil, _ fault: @autoclosure () -> String
    ) {
        let times = times ?? place.times
        let location = HostOffset(place.location)
        result.add(kind, .corruption, times: times, in: place.location / image.clusterSize, at: location) {
            return CheckFinding(
                kind, .corruption, path: image.file.path, at: location, guest: place.guest, times: times,
                "L2 entry for guest offset \(place.guest) at \(location): \(fault())")
        }
    }

    private mutating func judgeBits(_ place: L2EntryPlace) {
        let word = place.entry.rawValue
        guard place.kind != .compressed else { return }
        if L2Entry.reservedLow.isSet(in: word) || L2Entry.reservedHigh.isSet(in: word) {
            add(.reservedBits, place, "has reserved bits set: \(hexadecimal(word))")
        }
        if image.format.version == 2, L2Entry.zero.isSet(in: word) {
            add(.entry, place, "has the zero flag, which version 2 does not have")
        }
    }

    private mutating func judgeCompressed(_ place: L2EntryPlace) {
        if L2Entry.copied.isSet(in: place.entry.rawValue) {
            add(.copiedFlag, place, "COPIED is set, but must not be for a compressed cluster")
        }
        if image.format.hasDataFile {
            return add(.entry, place, "is of a compressed cluster, which an image with a data file cannot have")
        }
        if place.bitmap.rawValue != 0 {
            return add(
                .entry, place,
                "is of a compressed cluster, but has the subcluster bitmap \(hexadecimal(place.bitmap.rawValue))")
        }
        result.allocatedClusters += place.activeTimes
        result.compressedClusters += place.activeTimes
        // Neighbours share sectors, so that all of them count as fragmented, as in QEMU.
        result.fragmentedClusters += place.activeTimes
    }

    private mutating func judgeCluster(_ place: L2EntryPlace) throws(ImageError) {
        let offset = L2Entry.offset.masked(in: place.entry.rawValue)
        let clusterSize = image.clusterSize
        if place.bitmap.hasBoth {
            add(.entry, place, "says of a subcluster both that it is allocated and that it reads as zeros")
        }
        if offset % clusterSize != 0 {
            add(
                .alignment, place,
                "points to \(HostOffset(offset)), which is not aligned to the cluster size (\(clusterSize))")
        }
        if place.activeTimes > 0 {
            result.allocatedClusters += place.activeTimes
            if expected != 0, offset != expected { result.fragmentedClusters += place.activeTimes }
            expected = offset + clusterSize
        }
        if image.format.hasDataFile, offset != place.guest.rawValue {
            add(.entry, place, "points to \(HostOffset(offset)) of the data file, where its guest offset cannot lie")
        }
        try judgeCopiedFlag(place, offset)
    }

    /// Only the active tables' flags mean something; those of what a snapshot shares are its past.
    private mutating func judgeCopiedFlag(_ place: L2EntryPlace, _ offset: UInt64) throws(ImageError) {
        guard place.activeTimes > 0, isTable else { return }
        let refcount =
            image.format.hasDataFile ? 1 : try refcounts.refcount(of: offset / image.clusterSize)
        guard let refcount, (refcount == 1) != L2Entry.copied.isSet(in: place.entry.rawValue) else { return }
        add(
            .copiedFlag, place, times: place.activeTimes,
            "\(CheckedImage.copiedFault(refcount)) the cluster at \(HostOffset(offset))")
    }
}

extension SubclusterBitmap {
    /// Whether a subcluster is said to be allocated.
    var hasAllocated: Bool { Self.allocated.isSet(in: rawValue) }
    /// Whether a subcluster is said to be both allocated and zeros.
    var hasBoth: Bool { Self.allocated.value(in: rawValue) & Self.zero.value(in: rawValue) != 0 }
}
