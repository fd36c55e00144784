import BlockImage
import ClusterMap
import Encryption
import FormatCore

/// QEMU's first copy-on-write format.
public struct QCOW1Driver: InspectableFormat {
    /// "qcow", as QEMU calls it.
    public let name = "qcow"
    /// What it is called in messages.
    public let imageName: String? = "a QCOW image of version 1"
    /// `.qcow`, which QCOW2 images have, too: then the content tells.
    public let extensions = ["qcow"]

    /// The driver.
    public init() {}

    /// Whether it begins with the magic and the version.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { bytes.starts(with: Header.start) }

    /// Reads the header and the backing file's name.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        QCOW1Image(try QCOW1Description(file), file: file)
    }

    /// The header and both kinds of tables.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try QCOW1Layout(file)
    }
}

/// A QCOW image of version 1, described and, where that is possible, ready to read.
struct QCOW1Image: CheckableImage {
    private let description: QCOW1Description
    private let file: any HostFile
    private(set) var layer: (any ImageLayer)?

    init(_ description: QCOW1Description, file: any HostFile) {
        self.description = description
        self.file = file
    }

    private var header: Header { description.header }

    /// That it is encrypted in an unknown way, whatever key there is.
    private var refusalWithKey: ImageError? {
        guard header.cryptMethod > 1 else { return nil }
        return ImageError(
            .unsupported, path: file.path, offset: HostOffset(36),
            "crypt_method: encrypted with unknown method \(header.cryptMethod)")
    }

    var refusal: ImageError? { refusalWithKey ?? missingKey }

    var missingKey: ImageError? {
        guard header.cryptMethod == 1, layer == nil else { return nil }
        return ImageError(
            .denied, path: file.path, offset: HostOffset(36), "crypt_method: encrypted, no key",
            hint: "--secret gives the passphrase of AES")
    }

    var backing: BackingName? {
        description.backingFile.map { BackingName(bytes: $0, sought: SoughtName(inHeader: $0), role: .backing) }
    }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        if let refusalWithKey { throw refusalWithKey }
        let cipher = header.cryptMethod == 1 ? try services.keys.legacyCipher(for: file) : nil
        if header.cryptMethod == 1, cipher == nil, let missingKey { throw missingKey }
        let decoder = QCOW1Decoder(
            file: file, clusterSize: Int(header.clusterSize), cipher: cipher, resources: services.resources)
        layer = ClusterMapLayer(ClusterMap(header, of: file), decoder: decoder, resources: services.resources)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = header.virtualSize
        info.clusterSize = header.clusterSize
        info.encrypted = header.cryptMethod == 0 ? nil : true
        info.dirtyFlag = false
    }

    /// Checks the tables; QEMU checks nothing of this format. Needs no key.
    func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        if let refusalWithKey { throw refusalWithKey }
        var result = CheckResult()
        // The L1 table comes first, and clusters of compressed data are not aligned: space is not counted.
        try ClusterMap(header, of: file).check(
            ClusterSpace(from: 0, leaks: .unknown), into: &result, progress: progress)
        return result
    }
}
