import BlockImage
import Compression

/// Builds a new VMDK disk from its start to its end. Used by one thread at a time.
///
/// What it keeps in memory is one grain table for each extent, and of streamOptimized the grain directory.
public final class VMDKWriter: ImageWriter {
    /// A grain; of flat disks the 4 KiB of which file systems make holes.
    public let granularity: Int
    /// Encodes what is written: there where the disk is streamOptimized.
    public let encoder: (any UnitEncoder)?

    /// The file of the descriptor.
    private let image: any NewFile
    private let disk: NewVMDK
    private let lines: [DescriptorExtent]
    private let extents: [any ExtentWriter]
    private var content: ContentIdentifier

    /// Begins `disk`, whose image is to be called `name`; where it takes more files, their names are made of that.
    ///
    /// Throws what `validate` throws, and what making the files throws.
    public init(_ disk: NewVMDK, named name: String, in files: any NewFiles) throws(ImageError) {
        let image = try files.file(named: name)
        try disk.validate(path: image.path)
        let encoder = GrainEncoder(level: disk.compressionLevel, path: image.path)
        let lines = disk.extents(ofImage: name)
        var extents: [any ExtentWriter] = []
        for line in lines {
            let file = disk.subformat.hasEmbeddedDescriptor ? image : try files.file(named: line.name?.text ?? name)
            switch disk.subformat {
            case .monolithicFlat, .twoGbMaxExtentFlat:
                extents.append(FlatExtentWriter(sectors: line.sectors, in: file))
            case .streamOptimized:
                extents.append(StreamExtentWriter(sectors: line.sectors, encoder: encoder, in: file))
            case .monolithicSparse, .twoGbMaxExtentSparse:
                extents.append(
                    SparseExtentWriter(
                        sectors: line.sectors,
                        descriptorSectors: disk.subformat.isSplit ? 0 : SparseHeader.newDescriptorSectors,
                        hasZeroedGrains: disk.hasZeroedGrains, in: file))
            }
        }
        self.image = image
        self.disk = disk
        self.lines = lines
        self.extents = extents
        self.encoder = disk.subformat == .streamOptimized ? encoder : nil
        granularity = disk.subformat.isFlat ? 4096 : encoder.unitSize
        content = ContentIdentifier(disk.size, UInt64(disk.parent?.cid ?? Descriptor.noParent))
    }

    /// Stores `bytes`, which the caller knows not to be all zeros, as they are. Where the disk is streamOptimized the
    /// bytes are compressed here, by the calling thread.
    public func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        content.add(.bytes, UInt64(bytes.byteCount), at: start.rawValue)
        if !disk.isMeasured { content.update(bytes) }
        try inExtents(UInt64(bytes.byteCount), at: start) { extent, range, offset throws(ImageError) in
            let stored = stored.map {
                StoredBytes(file: $0.file, offset: $0.offset.advanced(by: UInt64(range.lowerBound)))
            }
            try extent.write(bytes.extracting(range), at: offset, stored: stored)
        }
    }

    /// Stores what the encoder made of the unit at `start`.
    public func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        guard let stream = extents.first as? StreamExtentWriter else {
            preconditionFailure("the grains of this disk are not encoded")
        }
        content.add(.bytes, UInt64(granularity), at: start.rawValue)
        if !disk.isMeasured { content.update(bytes) }
        try stream.writeEncoded(bytes, at: start.rawValue)
    }

    /// Has `count` bytes read as zeros, also where a backing image has others.
    public func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
        content.add(.zeros, count, at: start.rawValue)
        try inExtents(count, at: start) { extent, range, offset throws(ImageError) in
            try extent.writeZeros(UInt64(range.count), at: offset)
        }
    }

    /// Writes what is left to write: nothing can be written afterwards.
    public func finish() throws(ImageError) {
        for extent in extents { try extent.finish() }
        let descriptor = NewDescriptor(disk: disk, extents: lines, cid: content.cid)
        try image.write(descriptor.bytes, at: HostOffset(disk.subformat.hasEmbeddedDescriptor ? sectorSize : 0))
    }

    /// Calls `body` for each extent that has some of the `count` bytes at `start`: with which of them, and where they
    /// begin in the extent.
    private func inExtents(
        _ count: UInt64, at start: GuestOffset,
        _ body: (any ExtentWriter, Range<Int>, UInt64) throws(ImageError) -> Void
    ) throws(ImageError) {
        let extentSize = disk.extentSectors * sectorSize
        var done: UInt64 = 0
        while done < count {
            let position = start.rawValue + done
            let offset = position % extentSize
            let part = min(count - done, extentSize - offset)
            try body(extents[Int(position / extentSize)], Int(done)..<Int(done + part), offset)
            done += part
        }
    }
}

/// Writes one extent of a new disk, from its start to its end. Offsets are those in the extent.
protocol ExtentWriter: AnyObject {
    /// Stores `bytes`, which begin with a grain where there are grains.
    func write(_ bytes: RawSpan, at offset: UInt64, stored: StoredBytes?) throws(ImageError)

    /// Has `count` bytes read as zeros whatever the parent has.
    func writeZeros(_ count: UInt64, at offset: UInt64) throws(ImageError)

    /// Writes what is left to write.
    func finish() throws(ImageError)
}

/// Writes an extent that is byte for byte what the disk has.
final class FlatExtentWriter: ExtentWriter {
    private let file: any NewFile
    private let size: UInt64

    /// An extent of `sectors` sectors in `file`.
    init(sectors: UInt64, in file: any NewFile) {
        self.file = file
        size = sectors * sectorSize
    }

    func write(_ bytes: RawSpan, at offset: UInt64, stored: StoredBytes?) throws(ImageError) {
        try file.write(bytes, at: HostOffset(offset), stored: stored)
    }

    /// Nothing, as there is no parent: what is not written is zeros.
    func writeZeros(_ count: UInt64, at offset: UInt64) {}

    func finish() throws(ImageError) {
        try file.setSize(size)
    }
}

extension ContentIdentifier {
    /// The identifier of a VMDK: neither ffffffff, which means "no parent", nor fffffffe, with which VMware's products say
    /// that another, longer one holds.
    fileprivate var cid: UInt32 { value >= 0xffff_fffe ? value ^ 0x8000_0000 : value }
}
