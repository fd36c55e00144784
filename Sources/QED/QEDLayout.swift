import BlockImage
import ByteFormat
import ClusterMap
import FormatCore

/// The structures of a QED file as they stand in it, sound or not.
struct QEDLayout: FormatLayout {
    private let file: any HostFile
    private let stored: StoredHeader<Header>

    init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        stored = try StoredHeader(of: file)
    }

    /// The header whose tables can be found by it.
    private var sound: Header? { stored.sound }

    var unit: UInt64 { sound.map { UInt64($0.clusterSize) } ?? 512 }

    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try consumer.structure(LayoutStructure("header", at: HostOffset(0), size: UInt64(Header.length))) {
            () throws(ImageError) in
            try listHeader(to: consumer)
        }
        guard let sound else { return }
        if sound.features.contains(.backingFile) {
            let (place, size) = (HostOffset(UInt64(sound.backingNameOffset)), Int(sound.backingNameSize))
            try consumer.structure(LayoutStructure("backing file name", at: place, size: UInt64(size))) {
                () throws(ImageError) in
                let held = place.rawValue < file.size ? min(UInt64(size), file.size - place.rawValue) : 0
                let name = try file.bytes(Int(held), at: held > 0 ? place : HostOffset(0), of: "backing file name")
                var cursor = LayoutCursor(name, at: place, isLittleEndian: true, telling: consumer)
                try cursor.bytes("name", size: size) { "\"\(path: printable($0))\"" }
            }
        }
        try ClusterMap(sound, of: file).list(to: consumer, options)
    }

    private func listHeader(to consumer: any LayoutConsumer) throws(ImageError) {
        var cursor = stored.cursor(isLittleEndian: true, telling: consumer)
        let unknown = stored.whole?.features.subtracting(.known).rawValue ?? 0
        if unknown != 0 { cursor.faults[16] = "no reader may go on that does not know 0x\(hexDigits(unknown, 1))" }
        try cursor.bytes("magic", size: 4) { "\"\(printable($0))\"" }
        try cursor.number("cluster_size", size: 4) { counted($0, "byte") }
        try cursor.number("table_size", size: 4) { counted($0, "cluster") }
        try cursor.number("header_size", size: 4) { counted($0, "cluster") }
        try cursor.number("features", size: 8) { bits in
            let names = ["backing file", "need check", "backing file is raw"]
            let set = (0..<64).filter { bits >> UInt64($0) & 1 == 1 }
            let words = set.map { $0 < names.count ? "\(names[$0]) (bit \($0))" : "unknown (bit \($0))" }
            return words.isEmpty ? "none" : words.joined(separator: ", ")
        }
        try cursor.number("compat_features", size: 8)
        try cursor.number("autoclear_features", size: 8)
        try cursor.number("l1_table_offset", size: 8) { "\(HostOffset($0))" }
        try cursor.number("image_size", size: 8) { counted($0, "byte") }
        try cursor.number("backing_filename_offset", size: 4)
        try cursor.number("backing_filename_size", size: 4) { counted($0, "byte") }
    }

    func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        let size = sound.map(\.headerBytes) ?? UInt64(stored.bytes.count)
        recorder.record(.header, at: HostOffset(0), count: size) { _, _ in false }
        guard let sound else { return }
        try ClusterMap(sound, of: file).recordUse(in: recorder)
    }
}
