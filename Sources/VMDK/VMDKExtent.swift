import BlockImage

/// A part of the disk, ready to be read: what an extent line, or a sparse file by itself, stands for. Immutable; a class,
/// since each read passes one on, and a copy of all that is in it would take as long as the look-up.
public final class VMDKExtent: Sendable {
    enum Storage: Sendable {
        /// Byte for byte in a file, from an offset on.
        case flat(any HostFile, HostOffset)
        /// In grains.
        case sparse(SparseExtent)
        /// Nowhere: zeros.
        case zero
        /// Where it cannot be read, for this reason.
        case unreadable(ImageError)
    }

    /// Where it begins on the disk.
    public let start: GuestOffset
    /// How many bytes of the disk it holds; at least one sector.
    public let virtualSize: UInt64
    /// The name of its type as the descriptor has it, in capitals. Empty for a sparse file that is opened itself and
    /// not through an extent line, as `qemu-img info` prints it.
    public let kindName: String
    /// The line of the descriptor that it stands for; nil where there is none.
    public let line: DescriptorExtent?
    let storage: Storage

    init(
        start: GuestOffset, virtualSize: UInt64, kindName: String, line: DescriptorExtent?, storage: Storage
    ) {
        self.start = start
        self.virtualSize = virtualSize
        self.kindName = kindName
        self.line = line
        self.storage = storage
    }

    /// The file that holds it; nil where none is needed.
    public var file: (any HostFile)? {
        switch storage {
        case .flat(let file, _): file
        case .sparse(let extent): extent.file
        case .zero, .unreadable: nil
        }
    }

    /// The path of the file that holds it; nil where none is needed.
    public var path: String? { file?.path }

    /// The bytes of a grain; nil for an extent that is not stored in grains.
    public var clusterSize: Int? {
        // At most 2^30.
        if case .sparse(let extent) = storage { Int(extent.grainSize) } else { nil }
    }

    /// Whether its grains are compressed.
    public var isCompressed: Bool {
        if case .sparse(let extent) = storage { extent.compression != nil } else { false }
    }

    /// What comes up while it is read; nil where nothing can. Extents that name one file may share it.
    var findings: ReadFindings? {
        if case .sparse(let extent) = storage { extent.findings } else { nil }
    }

    /// The first byte of the disk after it.
    var end: UInt64 { start.rawValue + virtualSize }

    /// How it is stored from `position` of the disk on, which lies inside it: at least one byte, at most `limit`.
    ///
    /// A compressed run lies in one grain. Its bytes on the host are those from the grain's marker on; their count is
    /// an upper bound, as only the marker says how many they are (see `CompressedGrains.storage`).
    func extent(at position: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let offset = position.rawValue - start.rawValue
        let limit = min(limit, virtualSize - offset)
        switch storage {
        case .zero:
            return Extent(start: position, count: limit, storage: .zero(explicit: true))
        case .unreadable(let error): throw error
        case .sparse(let extent):
            let run = try extent.run(at: offset, limit: limit)
            return Extent(start: position, count: run.count, storage: run.storage)
        case .flat(let file, let begin):
            // Both were held to 2^63 when the extent was opened.
            let host = begin.rawValue + offset
            if host < file.size {
                let count = min(limit, file.size - host)
                return Extent(start: position, count: count, storage: .data(file: file, offset: HostOffset(host)))
            }
            // A last sector that is cut short is filled with zeros. What lies after it is lost.
            let over = file.size % sectorSize
            guard over > 0, host - file.size < sectorSize - over else {
                throw ImageError(
                    .truncated, path: file.path, offset: HostOffset(host),
                    "\(kindName) extent: reaches to \(HostOffset(begin.rawValue + virtualSize)), which must lie "
                        + "in the file, but that ends at \(HostOffset(file.size))")
            }
            let count = min(limit, sectorSize - over - (host - file.size))
            return Extent(start: position, count: count, storage: .zero(explicit: true))
        }
    }

    /// Appends the bytes of the disk that `extent`, which this one answered as compressed, stands for.
    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .sparse(let sparse) = storage, case .encoded(_, _, let host, _) = extent.storage else {
            preconditionFailure("this extent encodes nothing")
        }
        try sparse.decode(
            Int(extent.count), at: extent.start.rawValue - start.rawValue, storedAt: host, into: &output)
    }
}
