import BlockImage
import FormatCore
import FoundationEssentials
import HostStorage
import ImageFormats
import PartitionTable

/// `stats.json` of an image: what `qemu-img info --output=json` says under the same keys, an object `rblockfs` with
/// what only the mount knows, and `error` where the image cannot be read.
struct StatsDocument: Encodable {
    /// One file of the chain.
    struct Layer: Encodable {
        var filename: PathText
        var format: String
        var probed: Bool
        var virtualSize: UInt64?
        var actualSize: UInt64

        private enum CodingKeys: String, CodingKey {
            case filename, format, probed
            case virtualSize = "virtual-size"
            case actualSize = "actual-size"
        }

        init(_ layer: LayerDescription) {
            let info = ImageInfo(layer, listsAll: false)
            filename = info.filename
            format = info.format
            probed = layer.wasProbed
            virtualSize = info.virtualSize
            actualSize = info.actualSize
        }
    }

    /// What only the mount knows.
    struct Mount: Encodable {
        var version: String
        var probed: Bool
        var layers: [Layer]
        var allocation: Allocation?
        var allocationError: ImageError?
        var lost: [LostRange]?
        var notes: [ErrorText]?
        var bitmaps: [MeasuredBitmap]?
        var unknownHeaderExtensions: [HeaderExtensionInfo]?
        var partitionTable: PartitionTableInfo?
        var counters: CounterFacts
        var inUse: ImageUse?

        private enum CodingKeys: String, CodingKey {
            case version, probed, layers, allocation, notes, bitmaps, counters, lost
            case unknownHeaderExtensions = "unknown-header-extensions"
            case allocationError = "allocation-error"
            case partitionTable = "partition-table"
            case inUse = "in-use"
        }
    }

    private enum CodingKeys: String, CodingKey {
        case rblockfs, error, filename, format, snapshot
    }

    private var info: ImageInfo?
    private var snapshot: SnapshotInfo?
    private var filename: String
    private var format: String?
    private var error: ImageError?
    private var mount: Mount
    /// The files that may be in use.
    private let usePaths: [String]
    /// The notes that do not depend on who uses them.
    private let lastingNotes: [ErrorText]

    /// The document of an image, or of one of its snapshots, as it is now. Measures how the disk is stored, if that was
    /// not done yet.
    init(_ node: ImageNode, snapshot index: Int?) {
        let view = DiskView(snapshot: index)
        let opened = node.opened()
        let disk = node.disk(view)
        let files = opened.layers.flatMap(\.files)
        let use = ImageUse(files)
        usePaths = files.map(\.path)
        lastingNotes = opened.layers.flatMap(\.notes) + ImageUse.timeNotes(files) + node.changeNotes
        let notes = lastingNotes + (use?.note.map { [$0] } ?? [])
        // The bitmaps are those of the current disk; and there may be many, as snapshots.
        let isCurrent = index == nil
        info = opened.layers.first.map { ImageInfo($0, listsAll: isCurrent) }
        if let index, opened.snapshots.indices.contains(index) {
            snapshot = SnapshotInfo(opened.snapshots[index])
            info?.virtualSize = disk.image?.virtualSize
        }
        let allocation = disk.allocation
        filename = node.location.text
        format = node.format?.rawValue
        error = disk.error
        mount = Mount(
            version: rblockVersion, probed: opened.layers.first?.wasProbed ?? false,
            layers: opened.layers.map(Layer.init), allocation: allocation?.whole,
            allocationError: allocation?.error, lost: (allocation?.lost.ranges).flatMap { $0.isEmpty ? nil : $0 },
            notes: notes.isEmpty ? nil : notes,
            bitmaps: isCurrent && !opened.bitmaps.isEmpty ? opened.bitmaps : nil,
            unknownHeaderExtensions: opened.layers.first?.unknownHeaderExtensions,
            partitionTable: isCurrent ? node.partitionTable(of: nil).flatMap(Self.info) : nil,
            counters: CounterFacts(node.counters(view).figures, node.layerCounters),
            inUse: use)
    }

    /// The facts of a partition table, with the files that the partitions have in the image's folder.
    private static func info(_ table: PartitionTable) -> PartitionTableInfo? {
        PartitionTableInfo(table) { number in
            let name = String(decoding: NodeName.partition(number), as: UTF8.self)
            return "\(String(decoding: NodeName.partitions, as: UTF8.self))/\(name)"
        }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        if let info {
            try info.encode(to: encoder)
        } else {
            try container.encode(filename, forKey: .filename)
            try container.encodeIfPresent(format, forKey: .format)
        }
        try container.encodeIfPresent(snapshot, forKey: .snapshot)
        try container.encodeIfPresent(error, forKey: .error)
        try container.encode(mount, forKey: .rblockfs)
    }

    /// The text, padded with spaces at its end to the size that it has with the largest figures: so `st_size` holds for
    /// every reading of one and the same image, whatever was counted, and however its files grew, meanwhile.
    func text() throws -> [UInt8] {
        var widest = self
        widest.mount.counters = .widest
        widest.mount.inUse = usePaths.max { $0.utf8.count < $1.utf8.count }.map {
            ImageUse(filename: $0, writing: false)
        }
        if let path = widest.mount.inUse?.filename.text, let note = ImageUse(filename: path, writing: true).note {
            widest.mount.notes = lastingNotes + [note]
        }
        widest.info?.actualSize = .max
        for index in widest.mount.layers.indices { widest.mount.layers[index].actualSize = .max }
        return try Self.padded(self, as: widest)
    }

    /// The text of `document`, with as many spaces after it as that of `widest` is longer.
    static func padded<Document: Encodable>(_ document: Document, as widest: Document) throws -> [UInt8] {
        let text = try json(document)
        let spaces = max(0, try json(widest).count - text.count)
        return text + Array(repeating: UInt8(ascii: " "), count: spaces) + [UInt8(ascii: "\n")]
    }

    static func json(_ document: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(String(decoding: try encoder.encode(document), as: UTF8.self).withoutRawBytes.utf8)
    }
}
