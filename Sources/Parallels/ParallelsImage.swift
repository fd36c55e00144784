import BlockImage
import ByteFormat
import ClusterMap
import FormatCore

/// An expanding Parallels image, described and, where that is possible, ready to read.
struct ParallelsImage: CheckableImage {
    let header: Header
    private let file: any HostFile
    private(set) var layer: (any ImageLayer)?

    /// Reads the header of `file`. Throws `corrupt` and `truncated` about what is damaged of it.
    init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        let start = try file.bytes(Header.length, at: HostOffset(0), of: "header")
        do throws(ParseFault) {
            var reader = ByteReader(start)
            header = try Header(parsing: &reader)
            if let fault = header.faults.first { throw fault }
        } catch {
            throw ImageError(error, in: file, at: HostOffset(0), of: "header")
        }
    }

    var notes: [ErrorText] {
        guard header.isInUse else { return [] }
        return ["\(path: file.path): was not closed by its last writer, or is being written to (in_use)"]
    }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        _ = readable(with: services)
    }

    /// The layer, which it has from then on.
    mutating func readable(with services: LayerServices) -> any ImageLayer {
        let made = ClusterMapLayer(ClusterMap(header, of: file), resources: services.resources)
        layer = made
        return made
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = header.sectorCount * 512
        info.clusterSize = header.clusterSize
        info.dirtyFlag = header.isInUse
    }

    /// Checks the BAT, with the counts of `qemu-img check`.
    func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        var result = CheckResult()
        try check(into: &result, progress: progress)
        return result
    }

    /// The same, added to `result`.
    func check(into result: inout CheckResult, progress: (Double) -> Void) throws(ImageError) {
        if header.isInUse {
            result.add(
                CheckFinding(
                    .flag, .corruption, path: file.path, at: HostOffset(44),
                    "in_use: the image was not closed properly, or is being written to"))
        }
        let space = ClusterSpace(from: header.dataOffset, leaks: .all)
        let highest = try ClusterMap(header, of: file).check(space, into: &result, progress: progress)
        result.totalClusters = UInt64(header.entryCount)
        result.imageEndOffset = (highest ?? 0).addingReportingOverflow(header.clusterSize).partialValue
    }
}

/// The structures of an expanding Parallels image as they stand in it, sound or not.
struct ParallelsLayout: FormatLayout {
    private let file: any HostFile
    private let stored: StoredHeader<Header>

    init(_ file: any HostFile) throws(ImageError) {
        self.file = file
        stored = try StoredHeader(of: file)
    }

    /// The header whose tables can be found by it.
    private var sound: Header? { stored.sound }

    let unit: UInt64 = 512

    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try consumer.structure(LayoutStructure("header", at: HostOffset(0), size: UInt64(Header.length))) {
            () throws(ImageError) in
            var cursor = stored.cursor(isLittleEndian: true, telling: consumer)
            try cursor.bytes("magic", size: 16) { "\"\(printable($0))\"" }
            try cursor.number("version", size: 4)
            try cursor.number("heads", size: 4)
            try cursor.number("cylinders", size: 4)
            try cursor.number("tracks", size: 4) { "\($0): clusters of \(humanSize($0 * 512))" }
            try cursor.number("bat_entries", size: 4)
            try cursor.number("nb_sectors", size: 8) { _ in
                stored.whole.map { "\($0.sectorCount): \(counted($0.sectorCount &* 512, "byte"))" } ?? ""
            }
            try cursor.number("in_use", size: 4) { $0 == UInt64(Header.inUseMark) ? "\"Ynot\": being written to" : "" }
            try cursor.number("data_start", size: 4) { $0 == 0 ? "behind the BAT" : "\(HostOffset($0 * 512))" }
            try cursor.number("flags", size: 4)
            try cursor.number("ext_off", size: 8) { $0 == 0 ? "none" : "\(HostOffset($0 &* 512))" }
        }
        guard let sound else { return }
        try ClusterMap(sound, of: file).list(to: consumer, options)
    }

    func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        recorder.record(.header, at: HostOffset(0), count: UInt64(stored.bytes.count)) { _, _ in false }
        guard let sound else { return }
        // The header and the BAT share a sector.
        try ClusterMap(sound, of: file).recordUse(in: recorder, firstUse: .blockTable)
    }
}
