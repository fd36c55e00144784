import BlockImage
import FormatCore

/// What a new VHD is to be.
public struct NewVHD: Hashable, Sendable {
    /// How the disk is stored, by the names that QEMU gives it.
    public enum Subformat: String, CaseIterable, Sendable {
        /// In blocks of 2 MiB.
        case dynamic
        /// Byte for byte.
        case fixed
    }

    /// The size of the disk in bytes, as it was asked for.
    public var size: UInt64
    /// How it is stored; nil: where that was not said.
    public var subformat: Subformat?
    /// Whether the disk has exactly this size; else that of the geometry that holds it, which QEMU makes of it by default.
    public var hasExactSize = true
    /// Whether Azure takes it: fixed, in whole MiB.
    public var isForAzure = false
    /// What it calls itself; nil: what its content says.
    public var identity: ImageIdentity?
    /// Whether nothing but the sizes of its files matters.
    public var isMeasured = false

    /// The bytes of a block of a new dynamic disk, as all other writers have it.
    static let blockSize: UInt32 = 2 << 20
    /// The most bytes that a VHD may have, 2040 GiB: so that the sectors of its file fit the 32 bits of an entry.
    public static let sizeLimit: UInt64 = 0xff00_0000 * sectorSize

    static let options: [ImageOption<Self>] = [
        ImageOption(
            name: "subformat", help: "dynamic (default) or fixed", values: Subformat.allCases.map(\.rawValue)
        ) { (new, value) throws(OptionFault) in new.subformat = try value.choice() },
        ImageOption(
            name: "force_size",
            help: "on (default): exactly the size that is asked for; off: that of cylinders, heads and sectors",
            values: OptionValue.flags
        ) { (new, value) throws(OptionFault) in new.hasExactSize = try value.flag() },
        ImageOption(
            name: "azure", help: "on: as Azure takes it, fixed and padded to whole MiB", values: OptionValue.flags
        ) { (new, value) throws(OptionFault) in new.isForAzure = try value.flag() },
        ImageOption(name: "uuid", help: "its unique id; by default one that its content says") {
            (new, value) throws(OptionFault) in
            guard let identity = ImageIdentity(text: value.text) else { throw value.fault("a UUID") }
            new.identity = identity
        },
    ]

    /// A disk of `size` bytes as other programs read it: dynamic.
    public init(size: UInt64) {
        self.size = size
    }

    /// Whether it is stored byte for byte.
    var isFixed: Bool { subformat.map { $0 == .fixed } ?? isForAzure }

    /// What it shows to its guest: in the size that was asked for, or at least that.
    var geometry: Geometry {
        if hasExactSize { return Geometry(sectors: diskSize / sectorSize) }
        let wanted = (min(size, Self.sizeLimit) + sectorSize - 1) / sectorSize
        var geometry = Geometry(sectors: wanted)
        var sectors = wanted
        // Rounded down, a geometry may be smaller: that of some more sectors is not.
        while geometry.size < wanted * sectorSize, !geometry.isLargest, sectors < wanted * 2 + 1024 {
            sectors += 1
            geometry = Geometry(sectors: sectors)
        }
        return geometry
    }
}

extension Geometry {
    /// That of a disk of `count` sectors (Virtual Hard Disk Image Format 1.0, appendix "CHS Calculation").
    init(sectors count: UInt64) {
        let most: UInt64 = 65535 * 16 * 255
        let total = min(count, most)
        var (heads, sectors): (UInt64, UInt64) = (16, 255)
        var tracks = total / sectors
        if total < 65535 * 16 * 63 {
            sectors = 17
            tracks = total / sectors
            heads = max((tracks + 1023) / 1024, 4)
            if tracks >= heads * 1024 || heads > 16 {
                (sectors, heads) = (31, 16)
                tracks = total / sectors
            }
            if tracks >= heads * 1024 {
                (sectors, heads) = (63, 16)
                tracks = total / sectors
            }
        }
        self.init(
            cylinders: UInt16(clamping: tracks / heads), heads: UInt8(clamping: heads),
            sectors: UInt8(clamping: sectors))
    }
}

extension NewVHD: NewFormatImage {
    /// In whole sectors, or MiB for Azure.
    public var diskSize: UInt64 {
        if !hasExactSize { return geometry.isLargest ? rounded(sectorSize) : geometry.size }
        return rounded(isForAzure ? 1 << 20 : sectorSize)
    }

    private func rounded(_ unit: UInt64) -> UInt64 {
        let (sum, overflow) = size.addingReportingOverflow(unit - 1)
        return overflow ? size : sum / unit * unit
    }

    /// Always throws.
    public mutating func compress(_ type: CompressionType?, level: Int?) throws(OptionFault) {
        throw OptionFault(message: "a vpc image cannot be compressed; qcow2 and vmdk can")
    }

    /// Always throws.
    public mutating func setBacking(_ backing: NewBacking) throws(OptionFault) {
        throw OptionFault(message: "a vpc image over a backing image can be read, and not made; qcow2 and vmdk can")
    }

    /// Why the options do not go together.
    public var optionFault: OptionFault? {
        guard isForAzure else { return nil }
        if subformat == .dynamic {
            return OptionFault(message: "option azure: Azure takes no dynamic disk; it must be fixed")
        }
        return hasExactSize
            ? nil : OptionFault(message: "option azure: Azure takes whole MiB only; force_size must be on")
    }

    /// Why there is no disk of this size.
    public var sizeFault: OptionFault? {
        if size == 0 { return OptionFault(message: "size is 0, but must be at least 1 for vpc") }
        guard size > Self.sizeLimit || diskSize > Self.sizeLimit else { return nil }
        return OptionFault(message: "size is \(size), but must be at most \(Self.sizeLimit) (2040 GiB) for vpc")
    }

    /// That of the disk and a footer, or with all blocks.
    public var fullyAllocatedSize: UInt64? {
        isFixed ? diskSize + UInt64(Footer.size) : DynamicPlaces(diskSize: diskSize).end + UInt64(Footer.size)
    }

    /// Begins to write it to the file `name` of `files`.
    public func writer(named name: String, in files: any NewFiles) throws(ImageError) -> any ImageWriter {
        let file = try files.file(named: name)
        if let fault = sizeFault ?? optionFault { throw ImageError(.unsupported, path: file.path, "\(fault.message)") }
        return VHDWriter(self, in: file)
    }
}
