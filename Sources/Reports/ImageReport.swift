import BlockImage
import Catalog
import Encryption
import FormatCore
import HostStorage
import ImageFormats
import Overlays
import PartitionTable

/// What is known of one image file: the keys of `qemu-img info --output=json`, an `error` where something is wrong, and
/// an object `rblock` with what qemu-img does not say.
package struct ImageReport: Encodable, Sendable {
    /// What qemu-img does not say; what does not apply is left out.
    package struct More: Encodable, Sendable {
        /// Whether only the content of the file, and neither a name nor another image, said its format.
        package var probed: Bool
        /// What people should know of the image, in sentences.
        package var notes: [ErrorText]?
        /// What QEMU's locks say of who uses the files that were opened.
        package var inUse: ImageUse?
        /// How it stands with the disk under an overlay of rblockfs.
        package var base: BaseReport?
        /// The header extensions of unknown types.
        package var unknownHeaderExtensions: [HeaderExtensionInfo]?
        /// What the disk's partition table says, where the disk can be read from the files that were opened.
        package var partitionTable: PartitionTableInfo?
        /// What the disk is as a whole, where it has no partitions.
        package var content: MemberType?
        /// The groups of LVM that it has parts of, and what is wrong with these.
        package var volumeGroups: [VolumeGroupReport]?
        package var volumeNotes: [ErrorText]?
        /// How the disk is stored, over the whole chain.
        package var allocation: Allocation?
        /// Why it is not known how the disk is stored.
        package var allocationError: ImageError?
        /// What of the disk could not be found when that was counted.
        package var lost: [LostRange]?
        /// The dirty bitmaps with how much they call dirty.
        package var bitmaps: [MeasuredBitmap]?

        private enum CodingKeys: String, CodingKey {
            case probed, notes, allocation, bitmaps, lost, content, base
            case volumeGroups = "volume-groups"
            case volumeNotes = "volume-notes"
            case inUse = "in-use"
            case unknownHeaderExtensions = "unknown-header-extensions"
            case partitionTable = "partition-table"
            case allocationError = "allocation-error"
        }

        /// What is known of a file of a chain; nil: of one that could not be opened.
        package init(_ layer: LayerDescription?) {
            guard let layer else {
                probed = false
                return
            }
            probed = layer.wasProbed
            notes = layer.notes.isEmpty ? nil : layer.notes
            inUse = ImageUse(layer.files)
            unknownHeaderExtensions = layer.unknownHeaderExtensions
        }
    }

    /// The file: as it was named, or, further down the chain, its canonical path.
    package var filename: String
    /// What qemu-img says as well; nil where the file could not be opened.
    package var info: ImageInfo?
    /// What it is taken for, where the file could not be opened; nil where that is not known, and in `info` else.
    package var format: String?
    /// What is known of a container of disks, where that was named; nil for an image.
    package var container: ContainerReport?
    /// The snapshot that keeps the disk; nil: it is the current one.
    package var snapshot: SnapshotInfo?
    /// What is wrong.
    package var error: ImageError?
    /// What qemu-img does not say; nil where the file could not be opened.
    package var more: More?

    private enum CodingKeys: String, CodingKey {
        case filename, error, rblock, format, snapshot
        case filenameBytes = "filename-bytes"
        case actualSize = "actual-size"
    }

    /// The name of a container's format, as a key.
    private struct FormatKey: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Whether anything is known of it but its name.
    package var isDescribed: Bool { info != nil || container != nil }

    /// What a file of a chain says of itself, under its own name or `filename`; `listsAll`: with its snapshots and dirty
    /// bitmaps.
    package init(_ layer: LayerDescription, filename: String? = nil, listsAll: Bool = true) {
        var info = ImageInfo(layer, listsAll: listsAll)
        if let filename { info.filename = PathText(filename) }
        self.info = info
        self.filename = info.filename.text
        more = More(layer)
    }

    /// An image that could not be opened, or a container.
    package init(filename: String, error: ImageError?) {
        self.filename = filename
        self.error = error
    }

    /// Calls the file `name`.
    package mutating func rename(_ name: String) {
        filename = name
        info?.filename = PathText(named: name)
    }

    /// The keys of the image's description, and those of the report beside them.
    package func encode(to encoder: any Encoder) throws {
        var keyed = encoder.container(keyedBy: CodingKeys.self)
        if let info {
            try info.encode(to: encoder)
        } else {
            try keyed.encode(filename, forKey: .filename)
            try keyed.encodeIfPresent(container?.format ?? format, forKey: .format)
        }
        try keyed.encodeIfPresent(bytesInJSON(ofName: filename), forKey: .filenameBytes)
        if let container {
            try keyed.encode(container.actualSize, forKey: .actualSize)
            var named = encoder.container(keyedBy: FormatKey.self)
            try container.info.encode(to: named.superEncoder(forKey: FormatKey(stringValue: container.format)))
            if !container.notes.isEmpty { try keyed.encode(["notes": container.notes], forKey: .rblock) }
        }
        try keyed.encodeIfPresent(snapshot, forKey: .snapshot)
        try keyed.encodeIfPresent(error, forKey: .error)
        try keyed.encodeIfPresent(more, forKey: .rblock)
    }

    /// Adds what is known of the disk `id` of the image: its size, the snapshot that keeps it, its partition table, and, with
    /// `allocation`, how it is stored. `files` names those of partitions and volumes, where they have any.
    package mutating func add(
        _ id: DiskID, of disks: ImageDisks, allocation: Bool, files: Files = Files()
    ) {
        let disk = disks.disk(id)
        if let index = id.snapshot, disks.opened.snapshots.indices.contains(index) {
            snapshot = SnapshotInfo(disks.opened.snapshots[index])
        }
        if id != .current { info?.virtualSize = disk?.image?.virtualSize }
        more = more ?? More(nil)
        if let image = disk?.image {
            let isWhole = id.part == .whole
            let table = isWhole ? disks.partitionTable(of: id.snapshot) : nil
            let volumes = isWhole ? disks.volumes(of: id.snapshot) : nil
            more?.add(table ?? PartitionTable(of: image), of: image, volumes, files)
        }
        guard allocation else { return }
        let measured = disk?.allocation
        more?.allocation = measured?.whole
        more?.allocationError = measured?.error
        more?.lost = (measured?.lost.ranges).flatMap { $0.isEmpty ? nil : $0 }
        // The bitmaps are those of the current disk; and there may be many, as snapshots.
        let bitmaps = id == .current ? disks.opened.bitmaps : []
        more?.bitmaps = bitmaps.isEmpty ? nil : bitmaps
    }
}

/// The bytes of the file name whose text is `name`, which JSON has in Base64; nil for UTF-8, of which a string has them all.
package func bytesInJSON(ofName name: String) -> String? {
    name.hasRawBytes ? Base64.text(name.nameBytes) : nil
}

extension NamedImage {
    /// What is known of it, and, with `chain`, of every image under it, topmost first. Never throws: what is wrong is in
    /// the last report.
    ///
    /// Without `chain` and `allocation`, which adds how the disk is stored, no other file than its own is opened, but for what an
    /// overlay of rblockfs was made over.
    package func reports(chain: Bool = false, allocation: Bool = false) -> [ImageReport] {
        let name = path.text + place.text
        do throws(ImageError) {
            guard place == DiskPlace() else { return [try diskReport(named: name, allocation: allocation)] }
            if let report = try containerReport() { return [report] }
            var reports =
                chain || allocation
                ? try chainReports(named: name, whole: chain, allocation: allocation)
                : [try ownReport(named: name)]
            let notes = manifestNotes()
            let others = reports[0].more?.notes ?? []
            if !notes.isEmpty { reports[0].more?.notes = notes + others }
            return reports
        } catch {
            return [ImageReport(filename: name, error: error)]
        }
    }

    private func ownReport(named name: String) throws(ImageError) -> ImageReport {
        let (opened, error, wasProbed, notes) = try openAlone()
        guard let layer = opened.layers.first else {
            return ImageReport(filename: name, error: opened.disk.error ?? Self.nothing(name))
        }
        var report = ImageReport(layer, filename: name)
        report.error = error == layer.missingKey ? nil : error
        report.more?.probed = wasProbed
        let allNotes = notes + layer.notes
        report.more?.notes = allNotes.isEmpty ? nil : allNotes
        if report.info?.backingFilename == nil {
            if let disk = opened.disk.image {
                let table = PartitionTable(of: disk)
                let volumes = DiskVolumes(of: disk, table, path: layer.file.path, beside: nil)
                report.more?.add(table, of: disk, volumes, ImageReport.Files())
            }
        }
        if BaseState.isKnown(of: layer) { report.more?.base = baseReport }
        return report
    }

    /// Of an overlay of rblockfs, for which the images under it are opened.
    private var baseReport: BaseReport? {
        var image = self
        image.onNote = nil
        image.options.backingOption = nil
        image.options.ignoresParentID = true
        guard let opened = try? image.open(), let top = opened.layers.first else { return nil }
        return BaseReport(under: top, in: opened)
    }

    private func chainReports(
        named name: String, whole: Bool, allocation: Bool
    ) throws(ImageError) -> [ImageReport] {
        var image = self
        image.options.followsEncrypted = true
        // They are in the reports.
        image.onNote = nil
        let opened = try image.open()
        var reports = opened.layers.prefix(whole ? .max : 1).enumerated().map { index, layer in
            ImageReport(layer, filename: index == 0 ? name : nil)
        }
        let lacksKey = opened.layers.contains { $0.missingKey != nil && $0.missingKey == opened.disk.error }
        // Without its key an image can be described, but not how its disk is stored.
        let error = lacksKey && !allocation ? nil : opened.disk.error
        guard !reports.isEmpty else {
            return [ImageReport(filename: name, error: error ?? Self.nothing(name))]
        }
        reports[reports.count - 1].error = error
        reports[0].add(.current, of: ImageDisks(of: opened), allocation: allocation)
        reports[0].more?.base = BaseReport(under: opened.layers[0], in: opened)
        return reports
    }

    /// What is known of a disk that the image holds: what the image, or the one of its chain that is meant, says of itself,
    /// with the size and the partition table of that disk.
    private func diskReport(named name: String, allocation: Bool) throws(ImageError) -> ImageReport {
        var image = self
        image.onNote = nil
        let disks = ImageDisks(of: try image.open())
        let id = try image.find(in: disks)
        _ = try disks.disk(id)?.result.get()
        var depth = 0
        if case .layer(let layer) = id.part { depth = layer }
        guard disks.opened.layers.indices.contains(depth) else { throw Self.nothing(name) }
        var report = ImageReport(disks.opened.layers[depth], filename: name)
        report.add(id, of: disks, allocation: allocation)
        return report
    }

    /// What is said where an opener answered neither a layer nor an error.
    private static func nothing(_ name: String) -> ImageError {
        ImageError(.unsupported, path: name, "nothing can be said of it")
    }
}
