import BlockImage
import FormatCore

/// A VHD image, described and, where that is possible, ready to read.
public struct VHDImage: CheckableImage {
    /// What the image says of itself.
    public let description: VHDDescription
    /// Its own part of the disk; nil before it was made ready to read.
    private(set) var disk: VHDLayer?
    private let file: any HostFile

    /// The image in `file`, which `description` describes.
    init(_ description: VHDDescription, file: any HostFile) {
        self.description = description
        self.file = file
    }

    /// `disk`
    public var layer: (any ImageLayer)? { disk }
    /// The unique id of the footer; nil where that is zeros.
    public var identity: ImageIdentity? { description.footer.identity.isZero ? nil : description.footer.identity }
    /// What came up while it was described.
    public var notes: [ErrorText] { description.notes }

    /// The parent of a differencing disk: by its unique id, and by the names that the locators have for it. One without a
    /// unique id is a raw disk of XenServer.
    public var backing: BackingName? {
        description.parent.map { parent in
            BackingName(
                bytes: parent.bytes, sought: parent.sought, role: .parent,
                usualFormat: parent.identity == nil ? "raw" : "vpc", identity: parent.identity)
        }
    }

    /// Nothing else need be opened.
    public mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        disk = VHDLayer(description, file: file, resources: services.resources)
    }

    /// The keys that `qemu-img info` has, and what else the footer and the header say.
    public func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = description.virtualSize
        info.clusterSize = description.header.map { UInt64($0.blockSize) }
        info.dirtyFlag = false
        info.formatSpecific = FormatSpecific(type: "vpc", data: VHDInfo(description))
    }

    /// Checks footers, header, table, bitmaps and blocks: see `VHDCheck`.
    public func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        guard let disk else { return nil }
        var check = VHDCheck(disk, file: file)
        try check.run(progress: progress)
        return check.result
    }

    /// Whether the parent has the unique id that it had when this image was made, and was not made later.
    public func backingFault(_ backing: (any FormatImage)?, in file: any HostFile) -> BackingFault? {
        guard let parent = description.parent, let wanted = parent.identity, let header = description.header else {
            return nil
        }
        let start = HostOffset(description.footer.dataOffset)
        guard let found = (backing as? VHDImage)?.description.footer else {
            return BackingFault(
                "parent unique id is \(wanted), but the parent \(path: file.path) is no VHD and has none, so that it is "
                    + "unknown whether it is the one that this image was made over", at: start.advanced(by: 40),
                isKnown: false)
        }
        guard found.identity == wanted else {
            return BackingFault(
                "parent unique id: is \(wanted), but that of the parent \(path: file.path) is \(found.identity), so it is "
                    + "not the one that this image was made over, or was changed since", at: start.advanced(by: 40),
                isKnown: true)
        }
        // What the field has is when the parent's file was last changed, which is not before the disk in it was made.
        let time = header.parentTimeStamp
        guard time != 0, found.timeStamp > time, found.timeStamp - time > 2 else { return nil }
        return BackingFault(
            "parent time stamp: is \(time), but the parent \(path: file.path) was made \(found.timeStamp - time) seconds later, "
                + "so it is not as it was when this image was made", at: start.advanced(by: 56), isKnown: true)
    }
}
