import BlockImage
import ByteFormat

extension Metadata {
    /// Reads the tables of the described image in `file` that are kept, and checks what writing relies on: that the clusters
    /// of all metadata are accounted, and are those of nothing else.
    init(opening description: QCOW2Description, _ file: any WritableFile) throws(ImageError) {
        if let refusal = description.refusal ?? Self.refusal(description, file) { throw refusal }
        let header = description.header
        func table(_ count: UInt64, at offset: UInt64, _ what: String) throws(ImageError) -> [UInt64] {
            // Counts were compared with their limits when the image was described: 32 MiB, 8 MiB.
            let size = (count * 8 + header.clusterSize - 1) / header.clusterSize * header.clusterSize
            return size == 0 ? [] : try MetadataPages.load(size, at: offset, of: file, what)
        }
        self.init(
            header, file, l1Words: try table(UInt64(header.l1Size), at: header.l1TableOffset, "active L1 table"),
            refcountWords: try table(
                UInt64(header.refcountTableClusters) * header.clusterSize / 8, at: header.refcountTableOffset,
                "refcount table"))
        try assignRoles()
        for (cluster, role) in roles {
            let count = try refcount(of: cluster)
            guard count != 1 else { continue }
            throw ImageError(
                .corrupt, path: file.path, offset: HostOffset(cluster * clusterSize),
                "the cluster holds \(role.rawValue) and must have the refcount 1, but has \(count)",
                hint: "check the image, and repair it before it is written to")
        }
    }

    /// Why no image like this is written to.
    private static func refusal(_ description: QCOW2Description, _ file: any WritableFile) -> ImageError? {
        let header = description.header
        func refuse(_ offset: UInt64, _ message: ErrorText, hint: String? = nil) -> ImageError {
            ImageError(.unsupported, path: file.path, offset: HostOffset(offset), message, hint: hint)
        }
        if header.version < 3 {
            return refuse(4, "version: images of version 2 are not written to, only those of version 3")
        }
        if header.cryptMethod != 0 { return refuse(32, "crypt_method: encrypted images are not written to") }
        if header.snapshotCount > 0 {
            return refuse(
                60, "nb_snapshots: images with internal snapshots are not written to",
                hint:
                    "'qemu-img snapshot -l \(shellWord(file.path))' lists them, and with -d NAME in place of -l deletes one"
            )
        }
        let features = header.incompatibleFeatures
        if features.contains(.dirty) {
            return refuse(
                72, "incompatible_features: the dirty bit is set, so that refcounts may be wrong",
                hint: "repair the image before it is written to")
        }
        if features.contains(.corrupt) {
            return refuse(
                72, "incompatible_features: the corrupt bit is set: another program found damage",
                hint: "repair the image before it is written to")
        }
        if features.contains(.externalDataFile) {
            return refuse(72, "incompatible_features: images with an external data file are not written to")
        }
        if header.autoclearFeatures.contains(.bitmaps), description.extensions.bitmaps != nil {
            return refuse(
                88, "autoclear_features: the image has dirty bitmaps, which would no longer say what changed")
        }
        return nil
    }

    /// Notes which clusters hold metadata. Throws `corrupt` where tables lie where they cannot, or over each other.
    private mutating func assignRoles() throws(ImageError) {
        try assign(.header, at: 0, size: clusterSize, namedAt: 0)
        try assign(.l1Table, at: l1Table.offset, size: UInt64(l1Table.words.count) * 8, namedAt: 40)
        try assign(
            .refcountTable, at: refcountTable.offset, size: UInt64(refcountTable.words.count) * 8, namedAt: 48)
        for (index, word) in refcountTable.words.enumerated() {
            let offset = RefcountTableEntry(rawValue: word).blockOffset
            guard offset != 0 else { continue }
            try assign(
                .refcountBlock, at: offset, size: clusterSize, namedAt: refcountTable.offset + UInt64(index) * 8)
        }
        for (index, word) in l1Table.words.prefix(Int(header.l1Size)).enumerated() {
            let offset = L1Entry(rawValue: word).l2TableOffset
            guard offset != 0 else { continue }
            try assign(.l2Table, at: offset, size: clusterSize, namedAt: l1Table.offset + UInt64(index) * 8)
        }
    }

    /// Notes that `role` is what the `size` bytes at `offset` hold, as is said at `place`.
    private mutating func assign(
        _ role: Role, at offset: UInt64, size: UInt64, namedAt place: UInt64
    ) throws(ImageError) {
        guard size > 0 else { return }
        func fault(_ message: String) -> ImageError {
            ImageError(
                .corrupt, path: file.path, offset: HostOffset(place),
                "\(role.rawValue) is said to be at \(HostOffset(offset)), \(message)",
                hint: "check the image, and repair it before it is written to")
        }
        guard offset % clusterSize == 0 else {
            throw fault("which is not aligned to the cluster size (\(clusterSize))")
        }
        guard offset < fileEnd else { throw fault("past the end of the file at \(HostOffset(fileEnd))") }
        for cluster in offset / clusterSize..<(offset + size) / clusterSize {
            if let other = roles.updateValue(role, forKey: cluster) { throw fault("where \(other.rawValue) is") }
        }
    }
}
