import BlockImage
import FormatCore

/// A VMDK image, described and, where that is possible, ready to read.
public struct VMDKImage: CheckableImage {
    /// What the image says of itself.
    public let description: VMDKDescription
    /// Its own part of the disk; nil where it could not be made ready to read.
    public private(set) var disk: VMDKLayer?
    private let file: any HostFile

    /// The image in `file`, which `description` describes.
    init(_ description: VMDKDescription, file: any HostFile) {
        self.description = description
        self.file = file
    }

    /// `disk`
    public var layer: (any ImageLayer)? { disk }

    /// The parent of a delta, which VMware's products make of VMDK images only; the descriptor does not say it. Another
    /// extension is believed, and a `.img` is looked into as everywhere, since a guest may have written it.
    public var backing: BackingName? {
        description.parent.map { name in
            BackingName(bytes: name.bytes, sought: name.sought, role: .parent, usualFormat: "vmdk")
        }
    }

    /// What came up while it was described and read, and while its extents were looked for.
    public var notes: [ErrorText] { disk?.notes ?? description.notes }
    /// What was read in place of the extents that the descriptor names.
    public var nameNotes: [ErrorText] { disk?.nameNotes ?? [] }
    /// That an extent comes without its descriptor.
    public var contentNotes: [ErrorText] { description.descriptor == nil ? description.notes : [] }

    /// Opens the extents.
    public mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        disk = try VMDKLayer(description, file: file, policy: services.policy, resources: services.resources)
    }

    /// The keys that `qemu-img info` has, and what else the descriptor says.
    public func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = disk?.virtualSize ?? description.virtualSize
        info.clusterSize = disk?.clusterSize.map(UInt64.init)
        info.setActualSize(of: disk?.files ?? [file])
        info.dirtyFlag = false
        info.formatSpecific = FormatSpecific(type: "vmdk", data: VMDKInfo(description, disk))
    }

    /// Checks grain tables and extents: see `VMDKLayer.check`.
    public func check(progress: (Double) -> Void) throws(ImageError) -> CheckResult? {
        try disk?.check(progress: progress)
    }

    /// Whether the parent has the content identifier that it had when the delta was made: whoever writes to a disk changes
    /// it. Where the delta does not say it, its description has a note.
    public func backingFault(_ backing: (any FormatImage)?, in file: any HostFile) -> BackingFault? {
        guard let wanted = description.parentCID else { return nil }
        guard let found = (backing as? VMDKImage)?.description.cid else {
            return BackingFault(
                "parentCID is \(contentIDText(wanted)), but the parent \(path: file.path) has no CID, so that it is unknown "
                    + "whether it was changed after this image was made", at: description.parentCIDOffset,
                isKnown: false)
        }
        guard found != wanted else { return nil }
        return BackingFault(
            "parentCID: is \(contentIDText(wanted)), but the CID of the parent \(path: file.path) is "
                + "\(contentIDText(found)), so the parent was changed after this image was made",
            at: description.parentCIDOffset, isKnown: true)
    }
}
