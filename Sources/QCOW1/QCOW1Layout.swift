import BlockImage
import ByteFormat
import ClusterMap
import FormatCore

/// The structures of a QCOW file of version 1 as they stand in it, sound or not.
struct QCOW1Layout: FormatLayout {
    private let file: any HostFile
    private let stored: StoredHeader<Header>

    init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        stored = try StoredHeader(of: file)
    }

    /// The header whose tables can be found by it.
    private var sound: Header? { stored.sound }

    var unit: UInt64 { sound?.clusterSize ?? 512 }

    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try consumer.structure(LayoutStructure("header", at: HostOffset(0), size: UInt64(Header.length))) {
            () throws(ImageError) in
            var cursor = stored.cursor(isLittleEndian: false, telling: consumer)
            func place(_ offset: UInt64) -> String { offset == 0 ? "none" : "\(HostOffset(offset))" }
            func bits(_ number: UInt64) -> String { "\(number)" + (number < 64 ? ": \(humanSize(1 << number))" : "") }
            try cursor.bytes("magic", size: 4) { "\"\(printable($0))\"" }
            try cursor.number("version", size: 4)
            try cursor.number("backing_file_offset", size: 8, place)
            try cursor.number("backing_file_size", size: 4) { counted($0, "byte") }
            try cursor.number("mtime", size: 4)
            try cursor.number("size", size: 8) { counted($0, "byte") }
            try cursor.number("cluster_bits", size: 1, bits)
            try cursor.number("l2_bits", size: 1) { $0 < 64 ? "\($0): \(1 << $0) entries" : "\($0)" }
            try cursor.reserved("padding", size: 2)
            try cursor.number("crypt_method", size: 4) { ["0: none", "1: AES"][at: $0] ?? "\($0): unknown" }
            try cursor.number("l1_table_offset", size: 8, place)
        }
        guard let sound else { return }
        if sound.backingFileOffset != 0 {
            let place = HostOffset(sound.backingFileOffset)
            try consumer.structure(
                LayoutStructure("backing file name", at: place, size: UInt64(sound.backingFileSize))
            ) { () throws(ImageError) in
                let held = place.rawValue < file.size ? file.size - place.rawValue : 0
                let size = Int(min(UInt64(sound.backingFileSize), held))
                let name = try file.bytes(size, at: size > 0 ? place : HostOffset(0), of: "backing file name")
                var cursor = LayoutCursor(name, at: place, isLittleEndian: false, telling: consumer)
                try cursor.bytes("name", size: Int(sound.backingFileSize)) { "\"\(path: printable($0))\"" }
            }
        }
        try ClusterMap(sound, of: file).list(to: consumer, options)
    }

    func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        recorder.record(.header, at: HostOffset(0), count: UInt64(stored.bytes.count)) { _, _ in false }
        guard let sound else { return }
        if sound.backingFileOffset != 0 {
            recorder.record(.header, at: HostOffset(sound.backingFileOffset), count: UInt64(sound.backingFileSize)) {
                _, earlier in earlier == .header
            }
        }
        try ClusterMap(sound, of: file).recordUse(in: recorder)
    }
}

extension [String] {
    /// The element at `index`; nil where there is none.
    fileprivate subscript(at index: UInt64) -> String? { index < UInt64(count) ? self[Int(index)] : nil }
}
