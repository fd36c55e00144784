import BlockImage
import FormatCore

/// What a new VHDX disk is to be: what `qemu-img create -o` lets people choose, with QEMU's defaults, and its sector sizes.
public struct NewVHDX: Hashable, Sendable {
    /// How the disk lies in the file.
    public enum Subformat: String, Hashable, Sendable, CaseIterable {
        /// Only blocks that have something.
        case dynamic
        /// All blocks, one after the other.
        case fixed
    }

    /// The size of the disk in bytes. VHDX counts in sectors: the last one is filled up with zeros.
    public var size: UInt64
    /// How it lies in the file (`subformat`).
    public var subformat = Subformat.dynamic
    /// The bytes of a block (`block_size`); nil: by the size of the disk.
    public var chosenBlockSize: UInt64?
    /// The bytes of the log (`log_size`).
    public var logSize: UInt64 = 1 << 20
    /// Whether blocks without data are marked as zeros, and not as absent (`block_state_zero`).
    public var marksZeros = true
    /// The bytes of a sector of the disk (`logical_sector_size`).
    public var logicalSectorSize: UInt64 = 512
    /// The bytes that a sector is stored in, by what the guest is to believe (`physical_sector_size`).
    public var physicalSectorSize: UInt64 = 4096
    /// The identifier of the disk (`uuid`); nil: one that follows from its content.
    public var diskID: ImageIdentity?
    /// Whether nothing but the size of its file matters: then its identifiers are not those of its content.
    public var isMeasured = false

    /// A dynamic disk of `size` bytes.
    public init(size: UInt64) {
        self.size = size
    }

    /// The bytes of a block: those that were chosen, else as QEMU has them, more for larger disks.
    var blockSize: UInt64 {
        if let chosenBlockSize { return chosenBlockSize }
        switch size {
        case (32 << 40 + 1)...: return 64 << 20
        case (100 << 30 + 1)...: return 32 << 20
        case (1 << 30 + 1)...: return 16 << 20
        default: return 8 << 20
        }
    }

    /// Of a checked size and checked options.
    var geometry: BlockGeometry {
        BlockGeometry(virtualSize: diskSize, blockSize: blockSize, sectorSize: logicalSectorSize, hasParent: false)
    }

    static let options: [ImageOption<Self>] = [
        ImageOption(
            name: "subformat", help: Subformat.allCases.map(\.rawValue).joined(separator: ", "),
            values: Subformat.allCases.map(\.rawValue)
        ) { (new, value) throws(OptionFault) in new.subformat = try value.choice() },
        ImageOption(
            name: "block_size", help: "the bytes of a block, 1M to 256M; by default 8M to 64M, more for larger disks"
        ) { (new, value) throws(OptionFault) in
            let size = try value.size()
            new.chosenBlockSize = size == 0 ? nil : size
        },
        ImageOption(name: "log_size", help: "the bytes of the log, a multiple of 1M; 1M") {
            (new, value) throws(OptionFault) in new.logSize = try value.size()
        },
        ImageOption(
            name: "block_state_zero", help: "on: blocks without data are marked as zeros; off: as absent",
            values: OptionValue.flags
        ) { (new, value) throws(OptionFault) in new.marksZeros = try value.flag() },
        ImageOption(
            name: "logical_sector_size", help: "the bytes of a sector of the disk, 512 or 4096; 512",
            values: ["512", "4096"]
        ) { (new, value) throws(OptionFault) in new.logicalSectorSize = try value.size() },
        ImageOption(
            name: "physical_sector_size", help: "the bytes that a sector is said to be stored in, 512 or 4096; 4096",
            values: ["512", "4096"]
        ) { (new, value) throws(OptionFault) in new.physicalSectorSize = try value.size() },
        ImageOption(name: "uuid", help: "the identifier of the disk; by default it follows from the content") {
            (new, value) throws(OptionFault) in
            guard let id = ImageIdentity(text: value.text) else { throw value.fault("a UUID") }
            new.diskID = id
        },
    ]
}

extension NewVHDX: NewFormatImage {
    /// The size of the disk in bytes, in whole sectors.
    public var diskSize: UInt64 {
        let sectorSize = max(logicalSectorSize, 1)
        let (sum, overflow) = size.addingReportingOverflow(sectorSize - 1)
        return overflow ? .max : sum / sectorSize * sectorSize
    }

    /// Why the options cannot be as they are.
    public var optionFault: OptionFault? {
        for (name, size) in [("logical_sector_size", logicalSectorSize), ("physical_sector_size", physicalSectorSize)]
        where !BlockGeometry.sectorSizes.contains(size) {
            return OptionFault(message: "option \(name): is \(size), but must be 512 or 4096")
        }
        if physicalSectorSize < logicalSectorSize {
            return OptionFault(
                message:
                    "option physical_sector_size: is \(physicalSectorSize), but must be at least the logical sector size "
                    + "(\(logicalSectorSize))")
        }
        if blockSize.nonzeroBitCount != 1 || !BlockGeometry.blockSizes.contains(blockSize) {
            return OptionFault(
                message: "option block_size: is \(blockSize), but must be a power of two from 1M to 256M")
        }
        if logSize % mebibyte != 0 || !(mebibyte..<1 << 32).contains(logSize) {
            return OptionFault(
                message: "option log_size: is \(logSize), but must be a multiple of 1M, and less than 4G")
        }
        return nil
    }

    /// Why there is no disk of this size.
    public var sizeFault: OptionFault? {
        if size == 0 {
            return OptionFault(message: "size is 0, but must be at least 1: other programs do not read an empty disk")
        }
        guard size > BlockGeometry.sizeLimit else { return nil }
        return OptionFault(message: "size is \(size), but must be at most \(BlockGeometry.sizeLimit) (64 TiB)")
    }

    /// Where the blocks end when all of them are there.
    public var fullyAllocatedSize: UInt64? {
        guard optionFault == nil, sizeFault == nil else { return nil }
        return NewVHDXLayout(self).dataOffset + geometry.blockCount * blockSize
    }

    /// Always throws.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        throw OptionFault(message: "a vhdx cannot be compressed")
    }

    /// Always throws.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        throw OptionFault(message: "a new vhdx cannot have a backing image; differencing disks are read, and not made")
    }

    /// Begins to write it to the file `name` of `files`.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        try VHDXWriter(self, in: try files.file(named: name))
    }
}

/// Where the parts of a new file lie: the header area, the log, the metadata, the block allocation table, the blocks.
struct NewVHDXLayout {
    let logOffset = mebibyte
    let metadata: Region
    let table: Region

    /// That of `new`, whose size and options were checked.
    init(_ new: NewVHDX) {
        metadata = Region(KnownIdentifier.metadataRegion, at: logOffset + new.logSize, length: UInt32(mebibyte))
        // At most 2^26 payload blocks, and so many more that the table has less than 1 GiB.
        let size = (new.geometry.entryCount * 8 + mebibyte - 1) / mebibyte * mebibyte
        table = Region(KnownIdentifier.tableRegion, at: metadata.end, length: UInt32(max(size, mebibyte)))
    }

    /// Where the first block lies.
    var dataOffset: UInt64 { table.end }
}
