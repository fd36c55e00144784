import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats
import Overlays
import Reports

/// `stats.json` of an image: its report (`ImageReport`), with what only the mount knows in the object `rblock`.
struct StatsDocument: Encodable {
    /// One file of the chain.
    struct Layer: Encodable {
        var filename: PathText
        var format: String
        var probed: Bool
        var virtualSize: UInt64?
        var actualSize: UInt64
        var kernelPath: PathFacts?

        private enum CodingKeys: String, CodingKey {
            case filename, format, probed
            case virtualSize = "virtual-size"
            case actualSize = "actual-size"
            case kernelPath = "kernel-path"
        }

        init(_ layer: LayerDescription, _ path: DiskPath?) {
            let info = ImageInfo(layer, listsAll: false)
            filename = info.filename
            format = info.format
            probed = layer.wasProbed
            virtualSize = info.virtualSize
            actualSize = info.actualSize
            kernelPath = path.map { PathFacts($0) }
        }
    }

    /// How the kernel gets the bytes of a disk.
    struct PathFacts: Encodable {
        var path: DiskPath.Kind
        /// Whether the counters see what is read.
        var isCounted: Bool
        var reason: ErrorText?

        private enum CodingKeys: String, CodingKey {
            case path, reason
            case isCounted = "reads-counted"
        }

        init(_ path: DiskPath) {
            self.path = path.kind
            isCounted = path.kind == .server
            reason = path.reason
        }
    }

    /// What only the mount knows.
    struct Mount: Encodable {
        var version = rblockVersion
        var layers: [Layer]
        var kernelPath: PathFacts?
        /// Nil: the disk cannot be written.
        var overlay: OverlayFacts?
        /// Nil: the files of guests are not shown.
        var files: [GuestVolumeReport]?
        var counters: CounterFacts

        private enum CodingKeys: String, CodingKey {
            case version, layers, overlay, files, counters
            case kernelPath = "kernel-path"
        }
    }

    private enum CodingKeys: String, CodingKey {
        case rblock
        /// What older versions call `rblock`.
        case rblockfs
    }

    private var report: ImageReport
    private var more: ImageReport.More
    private var mount: Mount
    /// The files that may be in use.
    private let usePaths: [String]
    /// The notes that do not depend on who uses them.
    private let lastingNotes: [ErrorText]

    /// The document of an image, or of one of its snapshots, as it is now. Measures how the disk is stored, if that was
    /// not done yet.
    init(_ node: ImageNode, snapshot index: Int?, by kernelPaths: KernelPaths, guests: GuestSettings) {
        let id = DiskID(snapshot: index)
        let disks = node.disks()
        let layers = disks.opened.layers
        let files = layers.flatMap(\.files)
        usePaths = files.map(\.path)
        lastingNotes = layers.flatMap(\.notes) + ImageUse.timeNotes(files) + node.changeNotes
        if let top = layers.first {
            report = ImageReport(top, listsAll: index == nil)
        } else {
            report = ImageReport(filename: node.location.text, error: nil)
            report.format = node.format?.rawValue
        }
        func file(_ folder: [UInt8], _ name: [UInt8]) -> String {
            String(decoding: folder + "/".utf8 + name, as: UTF8.self)
        }
        let names = ImageReport.Files(
            partition: { file(NodeName.partitions, NodeName.partition($0)) },
            volume: { file(NodeName.volumes, NodeName.volume($0)) })
        report.add(id, of: disks, allocation: true, files: names)
        report.error = disks.disk(id)?.error
        more = report.more ?? ImageReport.More(layers.first)
        report.more = nil
        more.inUse = ImageUse(files)
        let notes = lastingNotes + (more.inUse?.note.map { [$0] } ?? [])
        more.notes = notes.isEmpty ? nil : notes
        func path(of view: DiskID) -> DiskPath? {
            guard let disk = disks.disk(view), disk.image != nil else { return nil }
            return try? node.path(of: view, disk, in: disks, by: kernelPaths, for: .describing)
        }
        mount = Mount(
            // Only those of a chain have files of their own.
            layers: layers.enumerated().map { Layer($1, layers.count > 1 ? path(of: DiskID(part: .layer($0))) : nil) },
            kernelPath: path(of: id).map(PathFacts.init),
            overlay: (disks.disk(id)?.image?.layer as? OverlayLayer).map(OverlayFacts.init),
            files: guests.areShown && disks.disk(id)?.image != nil
                ? node.guests.volumes(of: index, in: disks, guests.helper).volumes.map(GuestVolumeReport.init) : nil,
            counters: CounterFacts(node.counters(id).figures, node.layerCounters))
    }

    func encode(to encoder: any Encoder) throws {
        try report.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        for key in [CodingKeys.rblock, .rblockfs] {
            let nested = container.superEncoder(forKey: key)
            try more.encode(to: nested)
            try mount.encode(to: nested)
        }
    }

    /// The text, padded with spaces to the size that it has with the largest figures: so `st_size` holds for
    /// every reading of one and the same image, whatever was counted, and however its files grew, meanwhile.
    func text() throws -> [UInt8] {
        var widest = self
        widest.mount.counters = .widest
        widest.more.inUse = usePaths.max { $0.utf8.count < $1.utf8.count }.map {
            ImageUse(filename: $0, writing: false)
        }
        if let path = widest.more.inUse?.filename.text, let note = ImageUse(filename: path, writing: true).note {
            widest.more.notes = lastingNotes + [note]
        }
        widest.mount.overlay = mount.overlay?.widest
        widest.report.info?.actualSize = .max
        for index in widest.mount.layers.indices { widest.mount.layers[index].actualSize = .max }
        return try Self.padded(self, as: widest)
    }

    /// The text of `document`, with as many spaces in it as that of `widest` is longer. They are at the ends of lines, where
    /// they mean nothing and are not seen: up to the width of a terminal, and what is left in all lines alike.
    static func padded<Document: Encodable>(_ document: Document, as widest: Document) throws -> [UInt8] {
        let text = Array(try jsonText(document).utf8)
        var spaces = max(0, try jsonText(widest).utf8.count - text.count)
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map { Array($0) }
        var width = 79
        while spaces > 0 {
            for index in lines.indices.dropLast() where spaces > 0 && lines[index].count < width {
                let count = min(spaces, width - lines[index].count)
                lines[index] += Array(repeating: UInt8(ascii: " "), count: count)
                spaces -= count
            }
            width += 40
        }
        return Array(lines.joined(separator: CollectionOfOne(UInt8(ascii: "\n")))) + [UInt8(ascii: "\n")]
    }
}
