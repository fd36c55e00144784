import BlockImage
import FormatCore

/// QEMU's copy-on-write format, versions 2 and 3.
public struct QCOW2Driver: InspectableFormat, CreatableFormat {
    /// "qcow2"
    public let name = "qcow2"
    /// What it is called in messages.
    public let imageName: String? = "a QCOW2 image"
    /// `.qcow2`, and `.qcow`, which old tools gave to both versions.
    public let extensions = ["qcow2", "qcow"]
    /// The header extension 0xe2792aca has it.
    public let storesBackingFormat = true

    /// The driver.
    public init() {}

    /// Whether it begins with the magic, and not with that of QCOW of version 1.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool { QCOW2Description.recognizes(bytes) }

    /// Reads the header, its extensions and the tables of snapshots and bitmaps: see `QCOW2Description`.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        QCOW2Image(try QCOW2Description(file), file: file)
    }

    /// Every structure, by `QCOW2Layout`.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        try QCOW2Layout(file)
    }

    /// What `-o` takes.
    public var options: [(name: String, help: String, values: [String])] {
        NewQCOW2.options.map { ($0.name, $0.help, $0.values) }
    }
    /// Compression must be asked for.
    public var isCompressedByLevel: Bool { false }

    /// An image as QEMU makes it by default, and as `options` say.
    public func newImage(size: UInt64, _ options: ImageOptionList) throws(OptionFault) -> any NewFormatImage {
        var new = NewQCOW2(size: size)
        try ImageOption.apply(options, NewQCOW2.options, to: &new, format: name)
        return NewQCOW2Image(new: new)
    }
}

/// A new image, and whether what is written to it is compressed.
public struct NewQCOW2Image: Hashable, NewFormatImage {
    /// What it is to be.
    public var new: NewQCOW2
    /// How hard clusters are compressed; nil: they are not.
    public var compressionLevel: Int?

    /// The size of the disk in bytes, in whole sectors.
    public var diskSize: UInt64 { new.diskSize }

    /// By arithmetic: a disk may have a billion clusters.
    public var fullyAllocatedSize: UInt64? { new.fullyAllocatedSize }

    /// Throws for a level that the type does not have.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        new.compressionType = type ?? new.compressionType
        let level = level ?? new.compressionType.defaultLevel
        try OptionFault.check(level, new.compressionType.levels, new.compressionType.rawValue)
        compressionLevel = level
    }

    /// Never throws: a backing file may have any format.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        new.backing = NewQCOW2.Backing(name: backing.name, format: backing.format)
    }

    /// Why the options cannot be as they are, whatever the disk is.
    public var optionFault: OptionFault? {
        new.optionFault(compressionLevel: compressionLevel).map { OptionFault(message: $0) }
    }

    /// Why there is no disk of this size in such clusters.
    public var sizeFault: OptionFault? { new.faultOfSize.map { OptionFault(message: $0) } }

    /// Begins to write it to the file `name` of `files`.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        try QCOW2Writer(new, compressionLevel: compressionLevel, in: try files.file(named: name))
    }
}
