import BlockImage
import ByteFormat
import FormatCore

extension Header {
    /// The most entries of an L1 table, as in QEMU (QCOW_MAX_L1_SIZE): 32 MiB of 8 bytes each.
    static let l1SizeLimit: UInt32 = (32 << 20) / 8
    /// The most bytes of a refcount table, as in QEMU (QCOW_MAX_REFTABLE_SIZE).
    static let refcountTableSizeLimit: UInt64 = 8 << 20
    /// The most bytes of a backing file's name.
    static let backingFileSizeLimit: UInt32 = 1023

    /// Checks every field against the format and the limits that QEMU sets; throws `corrupt` at the field's offset.
    func check(_ file: any HostFile) throws(ImageError) {
        guard let fault = faults.first else { return }
        throw ImageError(fault, in: file, at: HostOffset(0), of: "header")
    }

    /// What is wrong with the fields, each at its position: what must be right first, first. Where cluster_bits is
    /// wrong, nothing that is counted in clusters is known.
    var faults: [ParseFault] {
        var faults: [ParseFault] = []
        func require(_ holds: Bool, at position: Int, _ message: @autoclosure () -> String) {
            if !holds { faults.append(ParseFault(at: position, message())) }
        }
        let knowsClusters = (9...21).contains(clusterBits)
        require(knowsClusters, at: 20, "cluster_bits is \(clusterBits), but must be 9 to 21")
        require(refcountOrder <= 6, at: 96, "refcount_order is \(refcountOrder), but must be 0 to 6")
        if version >= 3 {
            require(
                headerLength >= 104 && headerLength % 8 == 0 && (!knowsClusters || UInt64(headerLength) <= clusterSize),
                at: 100,
                "header_length is \(headerLength), but must be a multiple of 8 from 104 to the cluster size")
        }
        require(
            (compressionType != 0) == incompatibleFeatures.contains(.compressionType), at: 104,
            "compression_type is \(compressionType), which contradicts the incompatible feature bit for it")
        if knowsClusters, incompatibleFeatures.contains(.extendedL2) {
            require(clusterBits >= 14, at: 20, "cluster_bits is \(clusterBits): extended L2 needs at least 14")
        }
        if knowsClusters { faults += faultsOfNameAndSize }
        return knowsClusters ? faults + faultsOfTables : faults
    }

    private var faultsOfNameAndSize: [ParseFault] {
        var faults: [ParseFault] = []
        if backingFileOffset > clusterSize {
            faults.append(
                ParseFault(
                    at: 8, "backing_file_offset is \(HostOffset(backingFileOffset)), outside the first cluster"))
        } else if backingFileOffset != 0,
            UInt64(backingFileSize) > min(UInt64(Self.backingFileSizeLimit), clusterSize - backingFileOffset)
        {
            faults.append(
                ParseFault(
                    at: 16,
                    "backing_file_size is \(backingFileSize), more than fits into the first cluster or 1023 bytes"))
        }
        if size > UInt64(Int64.max) {
            faults.append(ParseFault(at: 24, "size is \(size) bytes, more than any file has"))
        }
        return faults
    }

    private var faultsOfTables: [ParseFault] {
        var faults: [ParseFault] = []
        func require(_ holds: Bool, at position: Int, _ message: @autoclosure () -> String) {
            if !holds { faults.append(ParseFault(at: position, message())) }
        }
        require(
            l1Size <= Self.l1SizeLimit, at: 36, "l1_size is \(l1Size), but at most \(Self.l1SizeLimit) is allowed")
        require(
            UInt64(l1Size) >= neededL1Size, at: 36,
            "l1_size is \(l1Size), but a disk of \(size) bytes needs \(neededL1Size) entries")
        require(isTableOffset(l1TableOffset), at: 40, misplaced("l1_table_offset", l1TableOffset))
        require(
            refcountTableClusters > 0, at: 56, "refcount_table_clusters is 0, but there must be a refcount table")
        require(
            UInt64(refcountTableClusters) <= Self.refcountTableSizeLimit / clusterSize, at: 56,
            "refcount_table_clusters is \(refcountTableClusters), more than \(Self.refcountTableSizeLimit) bytes")
        require(
            isTableOffset(refcountTableOffset), at: 48, misplaced("refcount_table_offset", refcountTableOffset))
        require(
            snapshotCount <= Snapshot.countLimit, at: 60,
            "nb_snapshots is \(snapshotCount), but at most \(Snapshot.countLimit) are allowed")
        require(
            snapshotCount == 0 || isTableOffset(snapshotsOffset), at: 64,
            misplaced("snapshots_offset", snapshotsOffset))
        return faults
    }

    /// The backing file's name in the image's first cluster, of a header that was checked.
    func backingFileName(in cluster: [UInt8]) throws(ParseFault) -> [UInt8]? {
        guard backingFileOffset != 0, backingFileSize != 0 else { return nil }
        var reader = ByteReader(cluster, at: Int(backingFileOffset))
        return try reader.read(bytes: Int(backingFileSize))
    }

    /// Whether a table of clusters may begin at `offset`.
    func isTableOffset(_ offset: UInt64) -> Bool {
        offset % clusterSize == 0 && offset <= L2Entry.lastHostOffset
    }

    /// What is wrong with a field that is no such offset.
    func misplaced(_ field: String, _ offset: UInt64) -> String {
        "\(field) is \(HostOffset(offset)), but must be a multiple of the cluster size (\(clusterSize)) below 2^56"
    }
}
