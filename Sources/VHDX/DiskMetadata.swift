import BlockImage
import ByteFormat

/// What the metadata region says of the disk (MS-VHDX 2.6.2).
public struct DiskMetadata: Hashable, Sendable {
    /// The size of the disk in bytes (VirtualDiskSize).
    public let virtualSize: UInt64
    /// The bytes of a payload block (BlockSize).
    public let blockSize: UInt32
    /// Whether every block keeps its place in the file: a fixed disk (LeaveBlockAllocated).
    public let keepsBlocks: Bool
    /// Whether the disk lies over a parent (HasParent).
    public let hasParent: Bool
    /// The bytes of a sector of the disk.
    public let logicalSectorSize: UInt32
    /// The bytes that a sector is stored in, by what the guest is to believe.
    public let physicalSectorSize: UInt32
    /// The identifier of the disk, which children share.
    public let diskID: ImageIdentity
    /// What it says of its parent; nil where it has none.
    public let parentLocator: ParentLocator?
    /// Where the parent locator lies in the file.
    let parentLocatorOffset: HostOffset?

    var geometry: BlockGeometry {
        BlockGeometry(
            virtualSize: virtualSize, blockSize: UInt64(blockSize), sectorSize: UInt64(logicalSectorSize),
            hasParent: hasParent)
    }

    /// Reads what `table`, that of `region` of `file`, leads to. Throws what is missing or cannot be, and `unsupported` for
    /// what must be known and is not.
    init(_ table: MetadataTable, in region: Region, of file: any HostFile) throws(ImageError) {
        let items = ItemReader(file: file, region: region, table: table)
        do throws(ParseFault) { try table.check(regionLength: region.length) } catch {
            throw file.corrupt(error, in: "metadata table", at: region.offset)
        }
        if let fault = table.unsupportedItem {
            throw file.corrupt(fault, in: "metadata table", at: region.offset, .unsupported)
        }
        virtualSize = try items.number(KnownIdentifier.virtualSize)
        logicalSectorSize = try items.number(KnownIdentifier.logicalSectorSize)
        physicalSectorSize = try items.number(KnownIdentifier.physicalSectorSize)
        diskID = ImageIdentity(guid: try items.bytes(KnownIdentifier.diskID, count: ImageIdentity.size))
        let parameters = try items.bytes(KnownIdentifier.fileParameters, count: 8)
        blockSize = UInt32(littleEndian: parameters, at: 0)
        let flags = UInt32(littleEndian: parameters, at: 4)
        keepsBlocks = flags & 1 != 0
        hasParent = flags & 2 != 0
        let sectorSize = UInt64(logicalSectorSize)
        guard BlockGeometry.sectorSizes.contains(sectorSize) else {
            throw items.fault(KnownIdentifier.logicalSectorSize, "is \(sectorSize), but must be 512 or 4096")
        }
        guard blockSize.nonzeroBitCount == 1, BlockGeometry.blockSizes.contains(UInt64(blockSize)) else {
            throw items.fault(
                KnownIdentifier.fileParameters,
                "the block size is \(blockSize), but must be a power of two from 1 MiB to 256 MiB")
        }
        guard virtualSize <= BlockGeometry.sizeLimit, virtualSize % sectorSize == 0 else {
            throw items.fault(
                KnownIdentifier.virtualSize,
                "is \(virtualSize), but must be at most 64 TiB, and a multiple of the logical sector size (\(sectorSize))"
            )
        }
        guard hasParent else {
            (parentLocator, parentLocatorOffset) = (nil, nil)
            return
        }
        let (bytes, offset) = try items.content(KnownIdentifier.parentLocator)
        parentLocatorOffset = offset
        do throws(ParseFault) { parentLocator = try ParentLocator(parsing: bytes) } catch {
            throw file.corrupt(error, in: "parent locator", at: offset.rawValue)
        }
    }
}

/// Reads metadata items.
private struct ItemReader {
    let file: any HostFile
    let region: Region
    let table: MetadataTable

    /// All bytes of the item `id`, and where they lie.
    func content(_ id: ImageIdentity) throws(ImageError) -> (bytes: [UInt8], offset: HostOffset) {
        guard let item = table[id] else { throw fault(id, "is missing") }
        let offset = HostOffset(region.offset).advanced(by: UInt64(item.offset))
        let name = "metadata item \(item.name)"
        // At most 1 MiB.
        return (try file.bytes(Int(item.length), at: offset, of: name), offset)
    }

    /// The first `count` bytes of the item `id`.
    func bytes(_ id: ImageIdentity, count: Int) throws(ImageError) -> [UInt8] {
        let bytes = try content(id).bytes
        guard bytes.count >= count else { throw fault(id, "has \(bytes.count) bytes, but must have \(count)") }
        return Array(bytes[..<count])
    }

    /// The number that the item `id` is.
    func number<Number: FixedWidthInteger>(_ id: ImageIdentity) throws(ImageError) -> Number {
        Number(littleEndian: try bytes(id, count: Number.bitWidth / 8), at: 0)
    }

    /// That the item `id` is not as it must be.
    func fault(_ id: ImageIdentity, _ message: String) -> ImageError {
        let item = table[id]
        let position = UInt64(item?.offset ?? 0)
        return ImageError(
            .corrupt, path: file.path, offset: HostOffset(region.offset).advanced(by: position),
            "metadata item \(KnownIdentifier.name(of: id) ?? "\(id)"): \(message)")
    }
}

extension FixedWidthInteger {
    /// The integer at `position` of `bytes`, which has it whole.
    fileprivate init(littleEndian bytes: [UInt8], at position: Int) {
        var value: Self = 0
        for index in 0..<Self.bitWidth / 8 {
            value |= Self(truncatingIfNeeded: bytes[position + index]) << Self(truncatingIfNeeded: 8 * index)
        }
        self = value
    }
}

extension HostFile {
    /// What `fault` of the structure `name` at `start` means for the image.
    func corrupt(
        _ fault: ParseFault, in name: String, at start: UInt64, _ code: ImageError.Code = .corrupt
    ) -> ImageError {
        ImageError(
            code, path: path, offset: HostOffset(start).advanced(by: UInt64(fault.position)),
            "\(name): \(fault.message)")
    }
}
