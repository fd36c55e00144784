import BlockImage
import FormatCore

/// A VDI image, described and, where that is possible, ready to read.
public struct VDIImage: CheckableImage {
    /// What the image says of itself.
    public let header: Header
    private(set) var disk: VDILayer?
    private let file: any HostFile

    /// The image in `file`, which has `header`.
    init(_ header: Header, file: any HostFile) {
        self.header = header
        self.file = file
    }

    /// Its own part of the disk; nil before it was made ready to read.
    public var layer: (any ImageLayer)? { disk }
    /// The UUID that it was made with; nil where that is zeros.
    public var identity: ImageIdentity? { header.identity.isZero ? nil : header.identity }

    /// That its size is not in whole sectors, or that more blocks are said to be there than are.
    public var notes: [ErrorText] {
        header.diskSize == header.virtualSize
            ? []
            : [
                "\(path: file.path): its size of \(header.diskSize) bytes is no multiple of 512; it is read up to the end of its last sector"
            ]
    }

    /// The parent of a differencing image, by its UUID alone: VirtualBox has the names of files in the machine's settings, and
    /// keeps the images of snapshots in a folder beside that of the disk.
    public var backing: BackingName? {
        guard header.kind?.hasParent == true, !header.parentIdentity.isZero else { return nil }
        return BackingName(
            bytes: [],
            sought: SoughtName(
                text: "{\(header.parentIdentity)}", place: "header", candidates: [], lastComponent: nil,
                ignoresCase: true),
            role: .parent, usualFormat: "vdi", identity: header.parentIdentity,
            folders: [Array("Snapshots".utf8), Array("..".utf8)])
    }

    /// Nothing else need be opened. Throws for one over a parent that it does not name.
    public mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        if let refusal { throw refusal }
        disk = VDILayer(header, file: file, resources: services.resources)
    }

    /// That it is over a parent, and does not say over which.
    public var refusal: ImageError? {
        guard header.kind?.hasParent == true, header.parentIdentity.isZero else { return nil }
        return ImageError(
            .corrupt, path: file.path, offset: HostOffset(424),
            "UUID of the parent: is zeros, but must say which image this \(header.kind?.name ?? "") one is over")
    }

    /// The keys that `qemu-img info` has, and what else the header says.
    public func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = header.virtualSize
        info.clusterSize = UInt64(header.blockSize)
        info.dirtyFlag = false
        info.formatSpecific = FormatSpecific(type: "vdi", data: VDIInfo(header))
    }

    /// Checks the block map against the file: see `VDICheck`.
    public func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        guard let disk else { return nil }
        var check = VDICheck(disk, file: file)
        try check.run(progress: progress)
        return check.result
    }

    /// Whether the parent has the UUID, and the UUID of its last modification, that it had when this image was made.
    public func backingFault(_ backing: (any FormatImage)?, in file: any HostFile) -> BackingFault? {
        guard let wanted = self.backing?.identity else { return nil }
        guard let found = (backing as? VDIImage)?.header else {
            guard let identity = backing?.identity, identity == wanted else {
                return BackingFault(
                    "UUID of the parent: is \(wanted), but \(path: file.path) is no VDI, and no image that has it",
                    at: HostOffset(424), isKnown: true)
            }
            return nil
        }
        guard found.identity == wanted else {
            return BackingFault(
                "UUID of the parent: is \(wanted), but that of \(path: file.path) is \(found.identity), so it is not the "
                    + "image that this one was made over", at: HostOffset(424), isKnown: true)
        }
        let modification = header.parentModification
        guard !modification.isZero, found.modification != modification else { return nil }
        return BackingFault(
            "UUID of the parent's last modification: is \(modification), but that of \(path: file.path) is "
                + "\(found.modification), so the parent was changed after this image was made", at: HostOffset(440),
            isKnown: true)
    }
}

/// What only a VDI image has: what its header says. What does not apply is left out.
struct VDIInfo: Encodable, Sendable {
    private var subformat: String?
    private var version: String
    private var writer: String
    private var comment: ErrorText?
    private var diskSize: UInt64
    private var blocks: UInt32
    private var allocatedBlocks: UInt32
    private var extraBlockSize: UInt32?
    private var uuid: String
    private var modification: String
    private var parent: String?
    private var parentModification: String?

    private enum CodingKeys: String, CodingKey {
        case subformat, version, writer, comment, blocks, uuid
        case diskSize = "disk-size"
        case allocatedBlocks = "allocated-blocks"
        case extraBlockSize = "extra-block-size"
        case modification = "modification-uuid"
        case parent = "parent-uuid"
        case parentModification = "parent-modification-uuid"
    }

    init(_ header: Header) {
        subformat = header.kind?.name
        version = "\(header.version >> 16).\(header.version & 0xffff)"
        writer = printable(header.info.prefix { $0 != 0 && $0 != UInt8(ascii: "\n") })
        let words = header.comment.prefix { $0 != 0 }
        comment = words.isEmpty ? nil : "\(quoting: nameText(words))"
        diskSize = header.diskSize
        blocks = header.blockCount
        allocatedBlocks = header.allocatedCount
        extraBlockSize = header.extraSize == 0 ? nil : header.extraSize
        uuid = header.identity.description
        modification = header.modification.description
        guard header.kind?.hasParent == true else { return }
        parent = header.parentIdentity.description
        parentModification = header.parentModification.description
    }
}
