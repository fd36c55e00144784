import BlockImage
import ByteFormat

extension QCOW2Layout {
    /// The bytes of the header: what header_length says where that can be, else what its version has at least.
    func headerLength(_ header: Header) -> Int {
        guard version != 2 else { return 72 }
        let limit = UInt32(clamping: clusters?.clusterSize ?? 4096)
        if header.headerLength >= 104, header.headerLength % 8 == 0, header.headerLength <= limit {
            return Int(header.headerLength)
        }
        // The byte of the compression type and seven zeros are more likely than an extension of type 0 or 2^24.
        return start.count >= 112 && start[105..<112].allSatisfy { $0 == 0 } ? 112 : 104
    }

    func listHeader(_ header: Header, to consumer: any LayoutConsumer) throws(ImageError) {
        let length = headerLength(header)
        let structure = LayoutStructure("header", at: HostOffset(0), size: UInt64(length))
        try consumer.structure(structure) { () throws(ImageError) in
            var cursor = cursor(telling: consumer, upTo: length)
            for fault in headerFaults {
                cursor.faults[fault.position] =
                    cursor.faults[fault.position].map { "\($0); \(fault.message)" } ?? "\(fault.message)"
            }
            try listCommonFields(header, &cursor)
            if version != 2 { try listVersion3Fields(header, length, &cursor) }
        }
    }

    /// A cursor over the first bytes of the file.
    func cursor(telling consumer: any LayoutConsumer, upTo end: Int) -> LayoutCursor {
        LayoutCursor(
            Array(start.prefix(end)), at: HostOffset(0), isLittleEndian: false, telling: consumer)
    }

    private func listCommonFields(_ header: Header, _ cursor: inout LayoutCursor) throws(ImageError) {
        func place(_ offset: UInt64) -> String { offset == 0 ? "none" : "\(HostOffset(offset))" }
        try cursor.bytes("magic", size: 4) { $0 == Header.magic ? "\"QFI\\xfb\"" : "\"\(printable($0))\"" }
        try cursor.number("version", size: 4)
        try cursor.number("backing_file_offset", size: 8, place)
        try cursor.number("backing_file_size", size: 4) { counted($0, "byte") }
        try cursor.number("cluster_bits", size: 4) {
            $0 < 64 ? "\($0): clusters of \(humanSize(1 << $0))" : "\($0)"
        }
        try cursor.number("size", size: 8) {
            counted($0, "byte") + ($0 < 1000 ? "" : " (\(humanSize($0)))")
        }
        try cursor.number("crypt_method", size: 4) { named($0, "none", "AES", "LUKS") }
        try cursor.number("l1_size", size: 4) { counted($0, "entry", "entries") }
        try cursor.number("l1_table_offset", size: 8, place)
        try cursor.number("refcount_table_offset", size: 8, place)
        try cursor.number("refcount_table_clusters", size: 4) { counted($0, "cluster") }
        try cursor.number("nb_snapshots", size: 4)
        try cursor.number("snapshots_offset", size: 8, place)
    }

    private func listVersion3Fields(
        _ header: Header, _ length: Int, _ cursor: inout LayoutCursor
    ) throws(ImageError) {
        let names = featureNames(after: length)
        let unknown = header.incompatibleFeatures.subtracting([
            .dirty, .corrupt, .externalDataFile, .compressionType, .extendedL2,
        ])
        if !unknown.isEmpty {
            let list = unknown.names(in: names).map { printable($0) }.joined(separator: ", ")
            cursor.faults[72] = "no reader may go on that does not know: \(list)"
        }
        for (field, kind) in [
            ("incompatible_features", FeatureName.Kind.incompatible), ("compatible_features", .compatible),
            ("autoclear_features", .autoclear),
        ] {
            try cursor.number(field, size: 8) { bits in featureText(bits, kind, names) }
        }
        try cursor.number("refcount_order", size: 4) { $0 < 7 ? "\($0): refcounts of \(1 << $0) bits" : "\($0)" }
        try cursor.number("header_length", size: 4) { counted($0, "byte") }
        guard length > 104 else { return }
        try cursor.number("compression_type", size: 1) { named($0, "deflate", "zstd") }
        try cursor.reserved("padding", size: 7)
        // Fields that a later version of the format may have added.
        if length > 112 { try cursor.reserved("unknown additional fields", size: length - 112) }
    }

    /// The bits that are set in a field of features, by the specification's names, else by the image's own.
    private func featureText(_ bits: UInt64, _ kind: FeatureName.Kind, _ table: [FeatureName]) -> String {
        let names = (0..<64).filter { bits >> UInt64($0) & 1 == 1 }.map { bit in
            let named = FeatureName.name(of: bit, kind, in: table).map { "\"\(printable($0))\"" }
            let name = FeatureName.name(of: bit, kind, in: FeatureName.specified) ?? named ?? "unknown"
            return "\(name) (bit \(bit))"
        }
        return names.isEmpty ? "none" : names.joined(separator: ", ")
    }

    /// The image's feature name table, as far as the extensions can be read.
    private func featureNames(after length: Int) -> [FeatureName] {
        var reader = ByteReader(start, at: length)
        return (try? HeaderExtensions(parsing: &reader, upTo: start.count))?.featureNames ?? []
    }

    func listBackingFile(_ header: Header, to consumer: any LayoutConsumer) throws(ImageError) {
        guard header.backingFileOffset != 0 else { return }
        let place = HostOffset(header.backingFileOffset)
        let structure = LayoutStructure("backing file name", at: place, size: UInt64(header.backingFileSize))
        try consumer.structure(structure) { () throws(ImageError) in
            guard header.backingFileOffset < UInt64(start.count) else {
                return try consumer.fault(
                    "does not lie in the first cluster, of which the file has \(start.count) bytes")
            }
            let size = min(Int(header.backingFileSize), Int(Header.backingFileSizeLimit))
            var cursor = LayoutCursor(
                Array(start[Int(header.backingFileOffset)...].prefix(size)), at: place, isLittleEndian: false,
                telling: consumer)
            if size < Int(header.backingFileSize) { cursor.faults[0] = "at most \(size) bytes are allowed" }
            try cursor.bytes("name", size: size) { "\"\(path: printable($0))\"" }
        }
    }
}

/// A number of a few with names, from 0 on, as people read it.
private func named(_ number: UInt64, _ names: String...) -> String {
    names[at: number].map { "\(number): \($0)" } ?? "\(number)"
}

extension [String] {
    /// The element at `index`; nil where there is none.
    subscript(at index: UInt64) -> String? { index < UInt64(count) ? self[Int(index)] : nil }
}
