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

    /// The live counters.
    struct Counters: Encodable {
        var opens: UInt64
        var reads: UInt64
        var bytesRead: UInt64
        var readErrors: UInt64
        var tableCacheHits: UInt64
        var tableCacheMisses: UInt64
        var decompressions: UInt64

        private enum CodingKeys: String, CodingKey {
            case opens, reads, decompressions
            case bytesRead = "bytes-read"
            case readErrors = "read-errors"
            case tableCacheHits = "table-cache-hits"
            case tableCacheMisses = "table-cache-misses"
        }

        init(_ counters: MountCounters) {
            opens = counters.opens.load(ordering: .relaxed)
            reads = counters.reads.load(ordering: .relaxed)
            bytesRead = counters.bytesRead.load(ordering: .relaxed)
            readErrors = counters.readErrors.load(ordering: .relaxed)
            tableCacheHits = counters.layers.tableHits.load(ordering: .relaxed)
            tableCacheMisses = counters.layers.tableMisses.load(ordering: .relaxed)
            decompressions = counters.layers.decompressions.load(ordering: .relaxed)
        }

        /// As many digits as each can ever have.
        static let widest = Counters(all: .max)

        private init(all value: UInt64) {
            opens = value
            reads = value
            bytesRead = value
            readErrors = value
            tableCacheHits = value
            tableCacheMisses = value
            decompressions = value
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
        var counters: Counters

        private enum CodingKeys: String, CodingKey {
            case version, probed, layers, allocation, notes, counters
            case allocationError = "allocation-error"
        }
    }

    private enum CodingKeys: String, CodingKey {
        case rblockfs, error, filename, format
    }

    private var info: ImageInfo?
    private var filename: String
    private var format: String?
    private var error: Failure?
    private var mount: Mount

    /// The document of an image as it is now. Measures how the disk is stored, if that was not done yet.
    init(_ node: ImageNode) {
        let opened = node.opened()
        let notes = opened.layers.flatMap(\.notes)
        let measured = opened.allocation
        info = opened.layers.first.map(ImageInfo.init)
        filename = String(decoding: node.member.location)
        format = node.member.format?.rawValue
        error = opened.error.map(Failure.init)
        mount = Mount(
            version: rblockVersion, probed: opened.layers.first?.wasProbed ?? false,
            layers: opened.layers.map(Layer.init), allocation: (measured?.0).map(StoredBytes.init),
            allocationError: (measured?.1).map(Failure.init), notes: notes.isEmpty ? nil : notes,
            counters: Counters(node.counters))
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        if let info {
            try info.encode(to: encoder)
        } else {
            try container.encode(filename, forKey: .filename)
            try container.encodeIfPresent(format, forKey: .format)
        }
        try container.encodeIfPresent(error, forKey: .error)
        try container.encode(mount, forKey: .rblockfs)
    }

    /// The text, padded with spaces at its end to the size that it has with the largest figures: so `st_size` holds for
    /// every reading of one and the same image, whatever was counted, and however its files grew, meanwhile.
    func text() throws -> [UInt8] {
        let text = try Self.encode(self)
        var widest = self
        widest.mount.counters = .widest
        widest.info?.actualSize = .max
        for index in widest.mount.layers.indices { widest.mount.layers[index].actualSize = .max }
        let size = try Self.encode(widest).count + 1
        return text + Array(repeating: UInt8(ascii: " "), count: size - text.count - 1) + [UInt8(ascii: "\n")]
    }

    private static func encode(_ document: StatsDocument) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(document))
    }
}
