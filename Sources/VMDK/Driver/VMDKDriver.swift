import BlockImage
import FormatCore

/// VMware's virtual disk format: sparse, stream, flat and ESX extents, with or without a descriptor.
public struct VMDKDriver: InspectableFormat, CreatableFormat, SplitFormat {
    /// "vmdk"
    public let name = "vmdk"
    /// What it is called in messages.
    public let imageName: String? = "a VMDK image"
    /// `.vmdk`, also of parts.
    public let extensions = ["vmdk"]

    /// The driver.
    public init() {}

    /// Whether it begins as an extent of any kind, or as a descriptor.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { isVMDK(firstBytes: bytes) }

    /// Reads the header and the descriptor: see `VMDKDescription`.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        VMDKImage(try VMDKDescription.describe(file), file: file)
    }

    /// A descriptor without its mark is a text: only what begins as no VMDK image may be of another format.
    public func mayBeOtherFormat(_ error: ImageError, _ file: any HostFile) -> Bool {
        error == VMDKDescription.noVMDK(file)
    }

    /// Every structure, by `VMDKLayout`.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try VMDKLayout(file, policy: policy)
    }

    /// What `-o` takes.
    public var options: [(name: String, help: String, values: [String])] {
        NewVMDK.options.map { ($0.name, $0.help, $0.values) }
    }
    /// `streamOptimized` is always compressed, and nothing else can be.
    public var isCompressedByLevel: Bool { true }

    /// A disk as QEMU makes it by default, and as `options` say.
    public func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage {
        var new = NewVMDK(size: size)
        try ImageOption.apply(options, NewVMDK.options, to: &new, format: name)
        return new
    }
}

extension VMDKDriver {
    /// Whether it has no descriptor; the place for one is blank in the parts that QEMU makes.
    public func mayBePart(_ image: any FormatImage) -> Bool {
        guard let image = image as? VMDKImage else { return false }
        return image.description.extents.isEmpty && image.description.createType == nil
    }

    /// By the descriptors beside it: see `DiskPart`.
    public func partError(of file: any HostFile, policy: any OpenPolicy) -> ImageError? {
        DiskPart(file, policy: policy)?.error
    }

    /// Whether it is called `…-flat.vmdk`.
    public func isFlatExtent(_ file: any HostFile) -> Bool { DiskPart.kind(of: file) == .flat }

    /// With the name of `…-flat.vmdk`, where that is beside it.
    public func namingFlatExtent(
        in error: ImageError, of file: any HostFile, policy: any OpenPolicy
    ) -> ImageError {
        DiskPart.lostDescriptor(file, error, policy: policy)
    }

    /// By the descriptors among them: see `DiskPart`.
    public func parts(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) -> Set<[UInt8]> {
        DiskPart.parts(among: names, open: open)
    }

    /// Those beside which there is a file with the name that the descriptor has by custom.
    public func parts(named names: [[UInt8]]) -> Set<[UInt8]> {
        DiskPart.parts(named: names)
    }
}

extension NewVMDK: NewFormatImage {
    /// Throws for every subformat but streamOptimized, and for another type than zlib.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        guard subformat == .streamOptimized else {
            throw OptionFault(
                message: "\(subformat.rawValue) cannot be compressed; -o subformat=streamOptimized can")
        }
        guard type ?? .zlib == .zlib else { throw OptionFault(message: "a vmdk can be compressed by zlib only") }
        compressionLevel = level ?? compressionLevel
        try OptionFault.check(compressionLevel, Self.compressionLevels, "zlib")
    }

    /// Throws where it is no VMDK image with a content identifier.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        let name = nameText(backing.name)
        guard let cid = (backing.image as? VMDKImage)?.description.cid else {
            throw OptionFault(message: "\(name): the parent of a VMDK delta must be a VMDK image with a CID")
        }
        parent = Parent(name: name, cid: cid)
    }

    /// Begins to write it to the file `name` of `files`, and its extents beside it.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        try VMDKWriter(self, named: name, in: files)
    }
}
