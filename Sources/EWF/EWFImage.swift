import BlockImage
import FormatCore

/// An EWF image, described and, where that is possible, ready to read.
struct EWFImage: CheckableImage {
    let description: EWFDescription
    private let file: any HostFile
    /// All segments; nil before they were opened, and where one could not be.
    private(set) var segments: Segments?
    private var disk: EWFLayer?

    init(_ description: EWFDescription, file: any HostFile) {
        self.description = description
        self.file = file
    }

    var layer: (any ImageLayer)? { disk }

    var notes: [ErrorText] {
        description.faults.map { "\($0)" }
            + (segments?.faults ?? []).filter { !description.faults.contains($0) }
            .map { "\($0)" } + (disk?.chunks.findings.all ?? [])
    }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        let file = file
        let opened = OpenSegments()
        let segments = try Segments(description, of: file) { name, number throws(ImageError) in
            let reference = FileReference(name, role: .segment)
            let segment = try services.policy.open(reference, namedBy: file)
            return number <= OpenSegments.limit
                ? segment
                : SegmentFile(segment, among: opened) { () throws(ImageError) in
                    try services.policy.open(reference, namedBy: file)
                }
        }
        let volume = description.volume
        let chunks = ChunkMap(segments.tables, chunkSize: volume.chunkSize, resources: services.resources)
        self.segments = segments
        guard chunks.chunkCount >= volume.neededChunks else {
            throw ImageError(
                .corrupt, path: file.path,
                "the tables of its \(counted(segments.files.count, "segment")) have \(counted(chunks.chunkCount, "chunk")), "
                    + "but the disk needs \(volume.neededChunks)")
        }
        disk = EWFLayer(volume, chunks, segments: segments.files, resources: services.resources)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        let volume = description.volume
        info.virtualSize = volume.diskSize
        info.clusterSize = volume.chunkSize
        info.setActualSize(of: disk?.files ?? [file])
        info.dirtyFlag = false
        info.formatSpecific = FormatSpecific(type: "ewf", data: EWFInfo(description, segments))
    }

    /// Reads the whole disk: compares the check sum of each chunk, and the digests that are stored.
    func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        guard let disk, let segments else { return nil }
        var check = EWFCheck(description, segments, disk)
        try check.run(progress)
        return check.result
    }
}

/// What only an EWF image has.
struct EWFInfo: Encodable, Sendable {
    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(_ name: String) { stringValue = name }
        init?(stringValue: String) { return nil }
        init?(intValue: Int) { return nil }
    }

    private let texts: [(name: String, value: String)]
    private let numbers: [(name: String, value: UInt64)]

    init(_ description: EWFDescription, _ segments: Segments?) {
        let volume = description.volume
        let digests = segments?.digests ?? description.digests
        var texts: [(name: String, value: String)] = [("variant", volume.isSMART ? "smart" : "encase")]
        for (field, name) in CaseText.names {
            if let text = description.caseText.text(of: field) { texts.append((name, text)) }
        }
        let media: [UInt8: String] = [0: "removable", 1: "fixed", 3: "optical", 14: "logical", 16: "memory"]
        if let type = volume.mediaType { texts.append(("media-type", media[type] ?? "unknown")) }
        if let level = volume.compressionLevel {
            texts.append(("compression", ["none", "good", "best"][level] ?? "unknown"))
        }
        if let set = volume.setIdentifier { texts.append(("set-identifier", Self.hex(set))) }
        if let md5 = digests.md5 { texts.append(("md5", Self.hex(md5))) }
        if let sha1 = digests.sha1 { texts.append(("sha1", Self.hex(sha1))) }
        self.texts = texts
        numbers = [
            ("bytes-per-sector", UInt64(volume.bytesPerSector)), ("chunks", volume.neededChunks),
            ("segments", UInt64(segments?.files.count ?? 1)),
        ]
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        for (name, value) in texts { try container.encode(value, forKey: Key(name)) }
        for (name, value) in numbers { try container.encode(value, forKey: Key(name)) }
    }
}

extension [String] {
    /// The element at `index`; nil where there is none.
    fileprivate subscript(_ index: UInt8) -> String? { Int(index) < count ? self[Int(index)] : nil }
}
