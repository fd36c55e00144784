import BlockImage
import ByteFormat
import Encryption

extension QCOW2Description {
    /// Checks the structures of the described image in `file` against each other, as `qemu-img check` does, with the
    /// same counts; where they differ, CheckTests says why. Reads no data of the disk, and needs no key and no other
    /// file of the chain. `progress` gets the part that is done, 0 to 1.
    ///
    /// Throws the image's refusal, `unsupported` where checking would take more than `limits`, and what reading the
    /// file throws. Memory is bounded by the limits, and follows the parts of the file that are in use; time follows
    /// the bytes of the file that are no holes.
    public func check(
        _ file: any HostFile, limits: QCOW2CheckLimits = QCOW2CheckLimits(), progress: (Double) -> Void = { _ in }
    ) throws(ImageError) -> CheckResult {
        if let refusal = refusalWithKey { throw refusal }
        var check = try Check(CheckedImage(self, file, limits: limits))
        try check.run(progress)
        return check.result
    }
}

/// A check while it runs.
private struct Check {
    /// The most clusters that a file may have, as in QEMU (INT_MAX): 128 TiB with clusters of 64 KiB.
    static let clusterLimit: UInt64 = 1 << 31 - 1

    var image: CheckedImage
    var result = CheckResult()
    private var refcounts: Refcounts
    /// The last cluster that is used, or has a refcount.
    private var highest: UInt64 = 0

    init(_ image: CheckedImage) throws(ImageError) {
        guard image.clusterCount <= Self.clusterLimit else {
            throw ImageError(
                .unsupported, path: image.file.path,
                "the file has \(image.clusterCount) clusters, more than are checked (\(Self.clusterLimit))")
        }
        self.image = image
        refcounts = try Refcounts(image.header, of: image.file)
    }

    mutating func run(_ progress: (Double) -> Void) throws(ImageError) {
        judgeHeader()
        addFaults()
        try image.gather(&refcounts, &result)
        var lower: UInt64 = 0
        // A reference may touch one cluster after the last, and only one.
        let end = image.clusterCount + 1
        let tables = max(image.l2Tables.count, 1)
        while lower < end {
            let share = Double(lower) / Double(end)
            func pass(_ table: Int) { progress(share + (1 - share) * 0.9 * Double(table) / Double(tables)) }
            let counts = UseCounts(from: lower, end: end, budget: image.limits.countBytes)
            if lower == 0 {
                var sink = JudgingSink(image: image, counts: counts, refcounts: refcounts, result: result)
                try image.walkUses(&sink, progress: pass)
                refcounts = sink.refcounts
                result = sink.result
                lower = try finish(sink.counts, isFirst: true)
            } else {
                var sink = CountingSink(counts: counts)
                try image.walkUses(&sink, progress: pass)
                lower = try finish(sink.counts, isFirst: false)
            }
        }
        result.imageEndOffset = (highest + 1) * image.clusterSize
        let size = image.header.virtualSize
        result.totalClusters = size / image.clusterSize + (size % image.clusterSize == 0 ? 0 : 1)
        try explain()
        progress(1)
    }

    /// Counts what the refcount table uses, compares, and answers the first cluster that was not compared.
    private mutating func finish(_ counts: UseCounts, isFirst: Bool) throws(ImageError) -> UInt64 {
        var counts = counts
        let lower = counts.lower
        countRefcountBlocks(&counts, isFirst: isFirst)
        let end = max(image.clusterCount, min(counts.usedEnd, image.clusterCount + 1))
        try compare(counts, from: lower, to: min(counts.upper, end))
        return counts.upper
    }

    /// The tables that could not be read when the image was described.
    private mutating func addFaults() {
        for (kind, fault, rest) in [
            (CheckFinding.Kind.snapshot, image.description.snapshotFault, "what other snapshots use"),
            (.bitmap, image.description.bitmapFault, "what bitmaps use"),
        ] {
            guard let fault else { continue }
            result.add(
                CheckFinding(
                    kind, .corruption, path: fault.path, at: fault.offset,
                    "\(fault.detail); \(rest) is counted as leaks"))
        }
    }

    /// The flags of the header that say how the image was left, and what it says of its encryption.
    private mutating func judgeHeader() {
        let header = image.header
        func add(_ kind: CheckFinding.Kind, _ severity: CheckFinding.Severity, at offset: UInt64, _ message: ErrorText)
        {
            result.add(CheckFinding(kind, severity, path: image.file.path, at: HostOffset(offset), message))
        }
        if header.incompatibleFeatures.contains(.dirty) {
            add(
                .flag, .warning, at: 72,
                "header: the dirty bit is set: refcounts were to be written late (lazy refcounts), and may be stale")
        }
        if header.incompatibleFeatures.contains(.corrupt) {
            add(.flag, .warning, at: 72, "header: the corrupt bit is set: another program found damage")
        }
        guard header.cryptMethod == 2 else { return }
        guard let location = image.description.extensions.encryptionHeader else {
            return add(
                .encryption, .corruption, at: 32,
                "header: crypt_method is 2, LUKS, but no header extension says where the LUKS header is")
        }
        if location.offset % image.clusterSize != 0 {
            add(
                .alignment, .corruption, at: location.offset,
                "LUKS header: \(header.misplaced("its offset", location.offset))")
        }
        do throws(ImageError) {
            let bytes = try image.file.bytes(LUKS1Header.size, at: HostOffset(location.offset), of: "LUKS header")
            var reader = ByteReader(bytes)
            do throws(EncryptionFault) { _ = try LUKS1Header(parsing: &reader) } catch {
                let position = location.offset &+ UInt64(error.position ?? 0)
                add(.encryption, .corruption, at: position, "LUKS header: \(error.message)")
            }
        } catch {
            add(.encryption, .corruption, at: location.offset, error.detail)
        }
    }
}

extension Check {
    /// Counts the refcount blocks, in the table's order: each must be the only use of its cluster up to then.
    private mutating func countRefcountBlocks(_ counts: inout UseCounts, isFirst: Bool) {
        let path = image.file.path
        var shared: [(index: Int, cluster: UInt64, uses: UInt64)] = []
        for (index, entry) in refcounts.table.enumerated() where entry.rawValue != 0 {
            let offset = entry.blockOffset
            let cluster = offset / image.clusterSize
            var fault: String?
            if RefcountTableEntry.reserved.isSet(in: entry.rawValue) {
                fault = "has reserved bits set: \(hexadecimal(entry.rawValue))"
            } else if offset % image.clusterSize != 0 {
                fault =
                    "points to \(HostOffset(offset)), which is not aligned to the cluster size (\(image.clusterSize))"
            } else if cluster >= max(image.clusterCount, counts.usedEnd) {
                fault = "points to \(HostOffset(offset)), but the file ends at \(HostOffset(image.file.size))"
            }
            if let fault {
                guard isFirst else { continue }
                let place = HostOffset(image.header.refcountTableOffset).advanced(by: UInt64(index) * 8)
                result.add(
                    CheckFinding(
                        .refcountBlock, .corruption, path: path, at: place,
                        "refcount table entry \(index) at \(place): \(fault)"))
                continue
            }
            guard offset != 0 else { continue }
            counts.add(cluster, times: 1, as: .exclusive)
            guard cluster >= counts.lower, cluster < counts.upper else { continue }
            let uses = counts.uses(of: cluster).count
            if min(uses, refcounts.limit) != 1 { shared.append((index, cluster, uses)) }
        }
        // Clusters that were given up meanwhile come again.
        for block in shared where block.cluster < counts.upper {
            let place = HostOffset(block.cluster * image.clusterSize)
            var finding = CheckFinding(
                .refcountBlock, .corruption, path: path, at: place,
                "refcount block \(block.index) at \(place): its cluster is used \(block.uses) times, but must be used once"
            )
            finding.hasUsers = true
            result.add(finding)
        }
    }

    /// Compares the uses with the refcounts of the clusters from `start` up to `end`, all of which were counted.
    private mutating func compare(_ counts: UseCounts, from start: UInt64, to end: UInt64) throws(ImageError) {
        // Chunks lie in one page of the counts and one of the refcounts.
        let chunk: UInt64 = 1 << min(UseCounts.pageBits, refcounts.pageBits)
        var first = start
        while first < end {
            let next = min((first / chunk + 1) * chunk, end)
            defer { first = next }
            let isUnused = counts.isPageUnused(first)
            if let block = refcounts.block(of: first) {
                if !refcounts.canBeBlock(block) {
                    addUnknown(first..<next, block: block)
                    if !isUnused {
                        for cluster in first..<next { judgeOverflow(cluster, uses: counts.uses(of: cluster).count) }
                    }
                    continue
                }
                if isUnused, try refcounts.isPageZero(first, of: block) { continue }
            } else if isUnused {
                continue
            }
            for cluster in first..<next {
                let refcount = try refcounts.refcount(of: cluster) ?? 0
                let (uses, roles) = isUnused ? (0, []) : counts.uses(of: cluster)
                if refcount | uses == 0 { continue }
                highest = max(highest, cluster)
                if refcount != uses || roles.overlap(count: uses) { judge(cluster, refcount, uses: uses, roles) }
            }
        }
    }

    /// Clusters whose refcounts are unknown, as their block is not where a block can be.
    private mutating func addUnknown(_ clusters: Range<UInt64>, block: UInt64) {
        let start = HostOffset(clusters.lowerBound * image.clusterSize)
        result.add(.refcountBlock, .error, times: UInt64(clusters.count), in: block, at: start) {
            return CheckFinding(
                .refcountBlock, .error, path: image.file.path, at: start, times: UInt64(clusters.count),
                "clusters from \(start) on: the refcounts of \(counted(clusters.count, "cluster")) are unknown, as "
                    + "their refcount block is said to be at \(HostOffset(block))")
        }
    }

    private mutating func judge(_ cluster: UInt64, _ refcount: UInt64, uses: UInt64, _ roles: UseCounts.Roles) {
        judgeOverflow(cluster, uses: uses)
        let known = min(uses, refcounts.limit)
        if refcount > known {
            add(
                .leak, .leak, cluster, isUsed: known > 0,
                "refcount \(refcount), but \(known == 0 ? "nothing uses it" : "it is used \(counted(known, "time"))")")
        } else if refcount < known {
            add(.refcount, .corruption, cluster, "refcount \(refcount), but it is used \(counted(uses, "time"))")
        } else if roles.overlap(count: uses) {
            add(.overlap, .corruption, cluster, "used \(uses) times, by what must not share a cluster")
        }
    }

    private mutating func judgeOverflow(_ cluster: UInt64, uses: UInt64) {
        let limit = refcounts.limit
        guard uses > limit else { return }
        add(
            .refcountOverflow, .corruption, cluster, times: uses - limit,
            "used \(uses) times, but refcounts end at \(limit)")
    }

    private mutating func add(
        _ kind: CheckFinding.Kind, _ severity: CheckFinding.Severity, _ cluster: UInt64, times: UInt64 = 1,
        isUsed: Bool = true, _ fault: @autoclosure () -> String
    ) {
        let place = HostOffset(cluster * image.clusterSize)
        // Those whose refcounts stand in one block.
        result.add(kind, severity, times: times, in: cluster >> refcounts.blockBits, at: place) {
            var finding = CheckFinding(
                kind, severity, path: image.file.path, at: place, times: times, "cluster at \(place): \(fault())")
            finding.hasUsers = isUsed
            return finding
        }
    }

    /// Says of the kept findings about wrong use who the users are, in one more pass.
    private mutating func explain() throws(ImageError) {
        var sink = NamingSink()
        for finding in result.findings {
            if let cluster = usedCluster(finding) { sink.users[cluster] = [] }
        }
        guard !sink.users.isEmpty else { return }
        try image.walkUses(&sink) { _ in }
        for (index, entry) in refcounts.table.enumerated() where entry.blockOffset != 0 {
            let cluster = entry.blockOffset / image.clusterSize
            sink.use(cluster...cluster, times: 1, by: .refcountBlock(index))
        }
        for (index, finding) in result.findings.enumerated() {
            guard let cluster = usedCluster(finding), let users = sink.users[cluster], !users.isEmpty else { continue }
            result.explain(index, ": \(users.joined(separator: "; "))")
        }
    }

    /// The cluster that a finding says is used, and by too many or too few.
    private func usedCluster(_ finding: CheckFinding) -> UInt64? {
        finding.hasUsers ? finding.hostOffset.map { $0.rawValue / image.clusterSize } : nil
    }
}
