import BlockImage
import FormatCore

/// A VHDX image, described and, once it could be made, ready to read.
public struct VHDXImage: CheckableImage {
    /// What the image says of itself.
    public let description: VHDXDescription
    /// Its own part of the disk; nil before `makeReadable`.
    public private(set) var disk: VHDXLayer?

    /// The image that `description` describes.
    init(_ description: VHDXDescription) {
        self.description = description
    }

    /// `disk`
    public var layer: (any ImageLayer)? { disk }

    /// What children know it by: another one whenever what the disk has is changed.
    public var identity: ImageIdentity? { description.header.dataWriteID }

    /// The parent, which is a VHDX.
    public var backing: BackingName? {
        description.metadata.parentLocator.map { locator in
            BackingName(
                bytes: locator.path?.nameBytes ?? [], sought: locator.sought, role: .parent, usualFormat: "vhdx",
                identity: locator.parentID)
        }
    }

    /// What came up while it was described.
    public var notes: [ErrorText] { description.notes }

    /// Makes the layer; no other file is needed.
    public mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        disk = VHDXLayer(description, resources: services.resources)
    }

    /// The keys that `qemu-img info` has, and what else the image says.
    public func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = description.metadata.virtualSize
        info.clusterSize = UInt64(description.metadata.blockSize)
        info.dirtyFlag = description.log != nil
        info.formatSpecific = FormatSpecific(type: "vhdx", data: VHDXInfo(description))
    }

    /// Checks the structures: see `VHDXCheck`.
    public func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        guard let disk else { return nil }
        var check = VHDXCheck(disk)
        return try check.run(progress: progress)
    }

    /// Whether the parent has the identifier that it had when the child was made: whoever writes to a disk changes it.
    public func backingFault(_ backing: (any FormatImage)?, in file: any HostFile) -> BackingFault? {
        guard let locator = description.metadata.parentLocator else { return nil }
        let place = locator.position(of: "parent_linkage").flatMap { position in
            description.metadata.parentLocatorOffset?.advanced(by: UInt64(position))
        }
        guard let wanted = locator.parentID else {
            return BackingFault(
                "parent locator: has no parent_linkage, so that it is unknown whether the parent \(path: file.path) was changed "
                    + "after this image was made", at: description.metadata.parentLocatorOffset, isKnown: false)
        }
        guard let found = backing?.identity else {
            return BackingFault(
                "parent_linkage is \(wanted), but the parent \(path: file.path) has no identifier, so that it is unknown "
                    + "whether it was changed after this image was made", at: place, isKnown: false)
        }
        guard found != wanted, found != locator.otherParentID else { return nil }
        return BackingFault(
            "parent_linkage: is \(wanted), but the DataWriteGuid of the parent \(path: file.path) is \(found), so the parent "
                + "was changed after this image was made", at: place, isKnown: true)
    }
}
