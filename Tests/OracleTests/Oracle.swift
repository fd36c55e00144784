import BlockImage
import Catalog
import FormatCore
import Foundation
import HostStorage
import HostTools
import ImageFormats
import ImageTools
import Reports
import SystemPackage
import TestImages
import Testing

/// What this program reads, beside what qemu-img says of the same file.
struct Oracle {
    /// The folder that all images of one test are in.
    let folder: TemporaryFolder
    private let policy: ConfinedOpenPolicy

    init(_ folder: TemporaryFolder) throws {
        self.folder = folder
        policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
    }

    /// Opens the image `name` of the folder as the mount does, with --ignore-parent-id where `ignoresParentID`.
    func open(_ name: String, as format: ImageFormat?, ignoresParentID: Bool = false) -> OpenedImage {
        let resources = LayerResources(cacheSize: 6 << 20)
        do {
            let file = try policy.openImage(at: FilePath(folder.file(name)))
            var options = OpeningOptions()
            options.ignoresParentID = ignoresParentID
            return ImageOpener(policy: policy, resources: resources, options: options)
                .open(file, as: format, counters: resources.counters)
        } catch {
            return OpenedImage(failure: error)
        }
    }

    /// Every byte, random reads, the facts of `info` and the runs of `map` are those of qemu; and what `check` says, where
    /// qemu counts anything in the format.
    func agrees(
        on name: String, as format: ImageFormat = .qcow2, seed: UInt64 = 1, mayLeak: Bool = false,
        isChecked: Bool = true,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let opened = open(name, as: format)
        let image: Image
        do {
            image = try opened.disk.result.get()
        } catch {
            Issue.record("\(name) is refused: \(error)", sourceLocation: sourceLocation)
            return
        }
        let raw = folder.file("\(name).oracle")
        let (isRead, refusal) = try QemuImg.reads(folder.file(name), format: format.rawValue, into: raw)
        try #require(isRead, "qemu-img: \(refusal)", sourceLocation: sourceLocation)
        #expect(try image.firstDifference(from: raw) == nil, "\(name)", sourceLocation: sourceLocation)
        #expect(try image.wrongRead(from: raw, seed: seed) == nil, "\(name)", sourceLocation: sourceLocation)
        #expect(try differencesOfInfo(opened, format) == [], "\(name)", sourceLocation: sourceLocation)
        #expect(try differencesOfMap(opened, image, format) == [], "\(name)", sourceLocation: sourceLocation)
        if try CheckVerdict.theirs(folder.file(name), format).status == 63 {
            // QEMU checks nothing of this format.
            let (verdict, findings) = try CheckVerdict.ours(folder.file(name), format)
            #expect(verdict.status == 0 && findings.isEmpty, "\(name): \(findings)", sourceLocation: sourceLocation)
        } else if isChecked {
            #expect(
                try CheckVerdict.differences(folder.file(name), format, mayLeak: mayLeak) == [], "\(name)",
                sourceLocation: sourceLocation)
        }
        let (sum, error) = image.allocation()
        #expect(error == nil, sourceLocation: sourceLocation)
        #expect(
            sum.data + sum.compressed + sum.zero + sum.unallocated == image.virtualSize, sourceLocation: sourceLocation)
        try FileManager.default.removeItem(atPath: raw)
    }

    /// The image as `rblock` names it, with --format and --ignore-cid. What its verbs say is asked of them in this process:
    /// the matrix has hundreds of images, and to start the command for each would take longer than all else.
    private func named(_ path: String, _ format: ImageFormat) -> NamedImage {
        var image = NamedImage(FilePath(path), format: format)
        image.options.ignoresParentID = true
        image.allowed = [FilePath(folder.path)]
        return image
    }

    /// The keys of qemu's description that ours lacks, or has with other values; where `rblock info` says another thing
    /// than the mount, that as well.
    func differencesOfInfo(_ opened: OpenedImage, _ format: ImageFormat) throws -> [String] {
        let layer = try #require(opened.layers.first)
        // ext4 takes a block more or less for a file once it is written back.
        for file in layer.files {
            try FileHandle(forReadingFrom: URL(fileURLWithPath: file.path)).synchronize()
        }
        let theirs = try QemuImg.info(layer.file.path, format: format.rawValue)
        let ours = try JSONSerialization.jsonObject(with: try JSONEncoder().encode(ImageInfo(layer)))
        let found = QemuImg.differences(theirs, ours)
        // With its chain, for a VMDK image whose extents are files of their own, is named with these.
        let reports = named(layer.file.path, format).reports(chain: true)
        let chain = try JSONSerialization.jsonObject(with: try JSONEncoder().encode(reports)) as? [Any]
        let byCommand = QemuImg.differences(theirs, try #require(chain?.first))
        return found + (byCommand == found ? [] : byCommand.map { "rblock info: \($0)" })
    }

    /// The runs that qemu-img has stored in another way, or in another place, than `resolve` has them.
    func differencesOfMap(_ opened: OpenedImage, _ image: Image, _ format: ImageFormat) throws -> [String] {
        let layer = try #require(opened.layers.first)
        var found: [String] = []
        var end: UInt64 = 0
        let theirs = try QemuImg.map(layer.file.path, format: format.rawValue)
        for entry in theirs {
            if entry.start != end { found.append("qemu-img leaves a gap at \(end)") }
            end = entry.start + entry.length
            var position = entry.start
            while position < end {
                let resolution = try image.resolve(at: GuestOffset(position), limit: end - position)
                if let difference = difference(entry, resolution, at: position) {
                    found.append("\(position): \(difference), \(entry)")
                }
                position += resolution.extent.count
            }
        }
        if end != image.virtualSize { found.append("qemu-img ends at \(end), we at \(image.virtualSize)") }
        var pieces = MapJSON(try named(layer.file.path, format).map().runs)
        var text = ""
        while let piece = pieces.next() { text += piece }
        let byCommand = try JSONDecoder().decode([QemuImg.MapEntry].self, from: Data(text.utf8))
        return found + RBlock.differences(byCommand, theirs).map { "rblock map: \($0)" }
    }

    private func difference(
        _ entry: QemuImg.MapEntry, _ resolution: DiskRun, at position: UInt64
    ) -> String? {
        switch resolution.extent.storage {
        case .zero: return entry.zero && !entry.data ? nil : "we say zeros"
        case .unallocated: return "we say unallocated"
        case .encoded:
            if !entry.data || entry.zero { return "we say compressed" }
            if entry.depth != resolution.depth { return "we say depth \(resolution.depth)" }
        case .data(let file, let offset):
            if entry.depth != resolution.depth { return "we say depth \(resolution.depth)" }
            // A file system's hole may begin inside what qemu joins, but data is never where qemu has none.
            let run = file.run(at: offset, limit: resolution.extent.count)
            if !entry.data && !(run.isHole && run.count == resolution.extent.count) { return "we say data" }
            guard let theirs = entry.offset else { return nil }
            let expected = theirs + (position - entry.start)
            if offset.rawValue != expected { return "we say offset \(offset.rawValue), they \(expected)" }
        }
        return nil
    }
}

/// Raw disks that many tests begin with; each made once, kept until the process ends.
enum Disk {
    /// No multiple of any cluster or grain.
    static let oddSize: UInt64 = 3 << 20 | 7 * 512

    /// Writes a disk of patterns, zeros and holes to `name` of the folder.
    @discardableResult
    static func write(_ name: String, in folder: TemporaryFolder, size: UInt64, seed: UInt64 = 1) throws -> String {
        try Pattern.writeDisk(folder.file(name), size: size, seed: seed)
        return folder.file(name)
    }

    /// Commands of qemu-io that write here and there over a disk of `size` bytes, from the pattern file `source`.
    ///
    /// With `compressed`, whole clusters are also written compressed.
    static func writes(
        over size: UInt64, cluster: UInt64, compressed: Bool, source: String, seed: UInt64, count: Int = 24
    ) -> [String] {
        var random = SeededRandom(seed: seed)
        var commands: [String] = []
        func range(_ unit: UInt64, _ most: UInt64) -> String {
            let start = UInt64.random(in: 0..<size / unit, using: &random) * unit
            let units = min(UInt64.random(in: 1...most, using: &random), size / unit - start / unit)
            return "\(start) \(units * unit)"
        }
        // Compressed clusters first: qemu writes them only where there is nothing yet.
        if compressed {
            for index in 0..<size / cluster where Bool.random(using: &random) && index < 24 {
                commands.append("write -c -s \(source) \(index * cluster) \(cluster)")
            }
        }
        for index in 0..<count {
            switch index % 6 {
            case 0: commands.append("write -z \(range(512, 200))")
            case 1: commands.append("write -z -u \(range(cluster, 3))")
            case 2: commands.append("discard \(range(cluster, 2))")
            case 3: commands.append("write -P \(index + 1) \(range(512, 7))")
            default: commands.append("write -s \(source) \(range(512, 100))")
            }
        }
        return commands
    }
}
