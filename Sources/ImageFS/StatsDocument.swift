import BlockImage
import FoundationEssentials
import ImageFormats

/// `stats.json` of an image: what `qemu-img info --output=json` says under the same keys, an object `rblockfs` with
/// what only the mount knows, and `error` where the image cannot be read.
struct StatsDocument: Encodable {
    /// Why the image cannot be read.
    struct Failure: Encodable {
        var code: String
        var message: String
        var offset: UInt64?

        init(_ error: ImageError) {
            code = error.code.name
            message = error.description
            offset = error.offset?.rawValue
        }
    }

    /// One file of the chain.
    struct Layer: Encodable {
        var filename: String
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
            let info = ImageInfo(layer)
            filename = info.filename
            format = info.format
            probed = layer.wasProbed
            virtualSize = info.virtualSize
            actualSize = info.actualSize
        }
    }

    /// Bytes of the disk by how they are stored.
    struct StoredBytes: Encodable {
        var data: UInt64
        var compressed: UInt64
        var zero: UInt64
        var unallocated: UInt64

        init(_ allocation: Allocation) {
            data = allocation.data
            compressed = allocation.compressed
            zero = allocation.zero
            unallocated = allocation.unallocated
        }
    }

    /// A dirty bitmap of the image.
    struct BitmapFacts: Encodable {
        var name: String
        var granularity: UInt64
        var flags: [String]
        var inconsistent: Bool
        var dirtyBytes: UInt64?
        var error: Failure?

        private enum CodingKeys: String, CodingKey {
            case name, granularity, flags, inconsistent, error
            case dirtyBytes = "dirty-bytes"
        }

        init(_ measured: MeasuredBitmap) {
            name = measured.bitmap.name
            granularity = measured.bitmap.granularity
            flags = measured.bitmap.flags.names
            inconsistent = measured.bitmap.isInconsistent
            switch measured.dirtyBytes {
            case .success(let count): dirtyBytes = count
            case .failure(let error): self.error = Failure(error)
            }
        }
    }

    /// A header extension of a type that the specification does not give.
    struct ExtensionFacts: Encodable {
        var type: String
        var size: UInt32
    }

    /// What QEMU's locks on the files of the chain say.
    struct InUse: Encodable {
        var filename: String
        var writing: Bool

        /// A lock on the file called `filename`.
        init(filename: String) {
            self.filename = filename
            writing = false
        }

        /// The first file that is locked, those that are written to before those that are read; nil where none is.
        init?(_ opened: OpenedImage) {
            let locked = opened.layers.flatMap(\.files).compactMap { file in file.imageLock.map { (file, $0) } }
            guard let (file, lock) = locked.first(where: { $0.1 == .writing }) ?? locked.first else { return nil }
            filename = file.path
            writing = lock == .writing
        }
    }

    /// What only the mount knows.
    struct Mount: Encodable {
        var version: String
        var probed: Bool
        var layers: [Layer]
        var allocation: StoredBytes?
        var allocationError: Failure?
        var notes: [String]?
        var bitmaps: [BitmapFacts]?
        var unknownHeaderExtensions: [ExtensionFacts]?
        var partitionTable: PartitionTableFacts?
        var counters: CounterFacts
        var inUse: InUse?

        private enum CodingKeys: String, CodingKey {
            case version, probed, layers, allocation, notes, bitmaps, counters
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
    private var error: Failure?
    private var mount: Mount

    /// The document of an image, or of one of its snapshots, as it is now. Measures how the disk is stored, if that was
    /// not done yet.
    init(_ node: ImageNode, _ view: DiskView) {
        let opened = node.opened()
        let disk = node.disk(view)
        let notes = opened.layers.flatMap(\.notes) + node.changeNotes
        info = opened.layers.first.map(ImageInfo.init)
        if case .snapshot(let index) = view, opened.snapshots.indices.contains(index) {
            snapshot = SnapshotInfo(opened.snapshots[index])
            info?.snapshots = nil
            info?.virtualSize = disk.image?.virtualSize
        }
        filename = String(decoding: node.location)
        format = node.format?.rawValue
        error = disk.error.map(Failure.init)
        mount = Mount(
            version: rblockVersion, probed: opened.layers.first?.wasProbed ?? false,
            layers: opened.layers.map(Layer.init), allocation: (disk.allocation?.0).map(StoredBytes.init),
            allocationError: (disk.allocation?.1).map(Failure.init), notes: notes.isEmpty ? nil : notes,
            bitmaps: opened.bitmaps.isEmpty ? nil : opened.bitmaps.map(BitmapFacts.init),
            unknownHeaderExtensions: Self.unknownExtensions(of: opened),
            partitionTable: view == .current ? node.partitionTable().flatMap(PartitionTableFacts.init) : nil,
            counters: CounterFacts(node.counters(view).figures, node.layerCounters),
            inUse: InUse(opened))
    }

    private static func unknownExtensions(of opened: OpenedImage) -> [ExtensionFacts]? {
        guard case .qcow2(let description, _)? = opened.layers.first?.facts else { return nil }
        let facts = description.extensions.unknown.map {
            ExtensionFacts(type: "0x" + String($0.type, radix: 16), size: $0.length)
        }
        return facts.isEmpty ? nil : facts
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
        widest.mount.inUse = mount.layers.map(\.filename).max { $0.utf8.count < $1.utf8.count }.map(InUse.init)
        widest.info?.actualSize = .max
        for index in widest.mount.layers.indices { widest.mount.layers[index].actualSize = .max }
        return try Self.padded(self, as: widest)
    }

    /// The text of `document`, with as many spaces behind it as that of `widest` is longer.
    static func padded<Document: Encodable>(_ document: Document, as widest: Document) throws -> [UInt8] {
        let text = try json(document)
        let spaces = max(0, try json(widest).count - text.count)
        return text + Array(repeating: UInt8(ascii: " "), count: spaces) + [UInt8(ascii: "\n")]
    }

    static func json(_ document: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(document))
    }
}
