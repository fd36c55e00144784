import BlockImage
import ClusterMap
import FormatCore

/// QEMU's Enhanced Disk, a copy-on-write format without refcounts.
public struct QEDDriver: InspectableFormat {
    /// "qed"
    public let name = "qed"
    /// What it is called in messages.
    public let imageName: String? = "a QED image"
    /// `.qed`
    public let extensions = ["qed"]

    /// The driver.
    public init() {}

    /// Whether it begins with the magic.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { bytes.starts(with: Header.magic) }

    /// Reads the header and the backing file's name.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        QEDImage(try QEDDescription(file), file: file)
    }

    /// The header and both kinds of tables.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try QEDLayout(file)
    }
}

/// A QED image, described and, where that is possible, ready to read.
struct QEDImage: CheckableImage {
    private let description: QEDDescription
    private let file: any HostFile
    private(set) var layer: (any ImageLayer)?

    init(_ description: QEDDescription, file: any HostFile) {
        self.description = description
        self.file = file
    }

    private var header: Header { description.header }

    var refusal: ImageError? {
        let unknown = header.features.subtracting(.known).rawValue
        guard unknown != 0 else { return nil }
        let bits = (0..<64).filter { unknown >> UInt64($0) & 1 == 1 }.map { "bit \($0)" }
        return ImageError(
            .unsupported, path: file.path, offset: HostOffset(16),
            "features: needs features that are not supported: \(bits.joined(separator: ", "))")
    }

    var backing: BackingName? {
        description.backingFile.map {
            BackingName(
                bytes: $0, sought: SoughtName(inHeader: $0), role: .backing,
                storedFormat: header.features.contains(.backingIsRaw) ? "raw" : nil)
        }
    }

    var notes: [ErrorText] {
        guard header.features.contains(.needCheck) else { return [] }
        return ["\(path: file.path): was not closed by its last writer (need-check): a check may find damage"]
    }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        if let refusal { throw refusal }
        layer = ClusterMapLayer(ClusterMap(header, of: file), resources: services.resources)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = header.imageSize
        info.clusterSize = UInt64(header.clusterSize)
        info.dirtyFlag = header.features.contains(.needCheck)
    }

    /// Checks the tables, with the counts of `qemu-img check`.
    func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        if let refusal { throw refusal }
        var result = CheckResult()
        if header.features.contains(.needCheck) {
            result.add(
                CheckFinding(
                    .flag, .warning, path: file.path, at: HostOffset(16),
                    "need-check: the image was not closed properly"))
        }
        let space = ClusterSpace(from: header.headerBytes, leaks: .whole)
        try ClusterMap(header, of: file).check(space, into: &result, progress: progress)
        return result
    }
}
