import BlockImage
import FormatCore

/// What a new VDI is to be.
public struct NewVDI: Hashable, Sendable {
    /// The size of the disk in bytes, as it was asked for.
    public var size: UInt64
    /// Whether all of its blocks are there from the beginning.
    public var isStatic = false
    /// What it calls itself; nil: what its content says.
    public var identity: ImageIdentity?
    /// Whether nothing but the sizes of its files matters.
    public var isMeasured = false

    /// The bytes of a block: 1 MiB, the only one that QEMU reads.
    static let blockSize: UInt32 = 1 << 20
    /// The most bytes of a disk: as many blocks as QEMU reads, whose map has less than 2 GiB.
    public static let sizeLimit: UInt64 = 0x1fff_ff80 << 20

    static let options: [ImageOption<Self>] = [
        ImageOption(name: "static", help: "on: all blocks have their places at once", values: OptionValue.flags) {
            (new, value) throws(OptionFault) in new.isStatic = try value.flag()
        },
        ImageOption(name: "uuid", help: "its UUID; by default one that its content says") {
            (new, value) throws(OptionFault) in
            guard let identity = ImageIdentity(text: value.text) else { throw value.fault("a UUID") }
            new.identity = identity
        },
    ]

    /// A dynamic disk of `size` bytes.
    public init(size: UInt64) {
        self.size = size
    }

    /// How many blocks the disk has.
    var blockCount: UInt64 {
        let block = UInt64(Self.blockSize)
        return diskSize / block + (diskSize % block == 0 ? 0 : 1)
    }

    /// Where the block map begins: behind the header.
    static let mapOffset: UInt64 = 512

    /// Where the blocks begin: at a multiple of their size, as VirtualBox has it.
    var dataOffset: UInt64 {
        let block = UInt64(Self.blockSize)
        return (Self.mapOffset + blockCount * 4 + block - 1) / block * block
    }
}

extension NewVDI: NewFormatImage {
    /// In whole sectors.
    public var diskSize: UInt64 {
        let (sum, overflow) = size.addingReportingOverflow(sectorSize - 1)
        return overflow ? size : sum / sectorSize * sectorSize
    }

    /// Always throws.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        throw OptionFault(message: "a vdi image cannot be compressed; qcow2 and vmdk can")
    }

    /// Always throws.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        throw OptionFault(message: "a vdi image over a backing image can be read, and not made; qcow2 and vmdk can")
    }

    /// Why there is no disk of this size.
    public var sizeFault: OptionFault? {
        guard size > Self.sizeLimit else { return nil }
        return OptionFault(message: "size is \(size), but must be at most \(Self.sizeLimit) (512 TiB) for vdi")
    }

    /// With all blocks.
    public var fullyAllocatedSize: UInt64? { dataOffset + blockCount * UInt64(Self.blockSize) }

    /// Begins to write it to the file `name` of `files`.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        let file = try files.file(named: name)
        if let fault = sizeFault { throw ImageError(.unsupported, path: file.path, "\(fault.message)") }
        return VDIWriter(self, in: file)
    }
}
