/// A run of a disk that one layer of its chain stores in one way, found once: what reads, maps, copies and compares disks
/// works on runs, and looks no place up twice.
///
/// A value; may be used from any thread, for as long as the image that it is a run of is open.
public struct DiskRun: Sendable {
    /// Where it begins on the disk.
    public internal(set) var start: GuestOffset
    /// How the layer stores it, never `unallocated`. `extent.start` counts in the layer's own disk, which differs from
    /// `start` where the disk is a part of that one (`SliceLayer`).
    public internal(set) var extent: Extent
    /// The layer that stores it, and can decode it.
    public internal(set) var layer: any ImageLayer
    /// How far down the chain that layer is; 0 is the topmost.
    public internal(set) var depth: Int
    /// Whether the host file has a hole there, which reads as zeros: known only of runs that `DiskRuns.splitAtHoles` saw.
    public internal(set) var isHostHole = false
    private var failure: Failure?

    /// A box: runs that cannot be found are few, and the others are to be small.
    private final class Failure: Sendable {
        let error: ImageError
        init(_ error: ImageError) { self.error = error }
    }

    /// The run that `extent` of `layer` is, for a disk whose places are those of the layer.
    public init(_ extent: Extent, of layer: any ImageLayer, depth: Int = 0) {
        start = extent.start
        self.extent = extent
        self.layer = layer
        self.depth = depth
    }

    /// The `count` bytes from `start` on, which cannot be found because of `error`; they are taken for zeros.
    init(lost count: UInt64, at start: GuestOffset, of layer: any ImageLayer, because error: ImageError) {
        self.init(Extent(start: start, count: count, storage: .zero(explicit: false)), of: layer)
        failure = Failure(error)
    }

    /// How many bytes it has; at least one.
    public var count: UInt64 { extent.count }

    /// Where it ends.
    public var end: UInt64 { start.rawValue + extent.count }

    /// Why it cannot be found, and is taken for zeros; nil: it was found.
    public var error: ImageError? { failure?.error }

    /// Whether it is known to read as zeros.
    public var isZeros: Bool {
        switch extent.storage {
        case .zero, .unallocated: true
        case .data, .encoded: isHostHole
        }
    }

    /// What of it lies from `position`, which it holds, on, in at most `limit` bytes.
    public func part(from position: UInt64, limit: UInt64) -> DiskRun {
        if position == start.rawValue, limit >= extent.count { return self }
        var part = self
        part.start = GuestOffset(position)
        part.extent = extent.part(skipping: position - start.rawValue, limit: limit)
        return part
    }

    /// Appends all of its bytes to `output`, which must have that much capacity left.
    ///
    /// Throws what its file and its layer throw; what was read before that stays in `output`.
    public func read(into output: inout OutputRawSpan) throws(ImageError) {
        let count = Int(clamping: extent.count)
        switch extent.storage {
        case _ where isHostHole: output.appendZeros(count)
        case .data(let file, let offset): try file.read(count, at: offset, into: &output)
        case .zero, .unallocated: output.appendZeros(count)
        case .encoded: try layer.decode(extent, into: &output)
        }
    }

    /// Whether `other`, which begins at the same place of another disk, has the same bytes, as far as both go: they are
    /// the same bytes of the same file, stored in the same way.
    public func isStored(as other: DiskRun) -> Bool {
        switch (extent.storage, other.extent.storage) {
        case _ where isZeros && other.isZeros: true
        case (.data(let file, let offset), .data(let otherFile, let otherOffset)):
            offset == otherOffset && file.isSame(as: otherFile)
        case (
            .encoded(let encoding, let file, let offset, _),
            .encoded(let otherEncoding, let otherFile, let otherOffset, _)
        ):
            // Two layers of one image decode alike, at the same place of the disk. An encrypted one has the same key where
            // it has the same name.
            offset == otherOffset && encoding == otherEncoding && file.isSame(as: otherFile)
                && layer.isOfSameImage(as: other.layer) && extent.start == other.extent.start
                && (encoding != .encrypted || file.path.utf8.elementsEqual(otherFile.path.utf8))
        default: false
        }
    }
}

extension Extent {
    /// What of it comes after its first `skipped` bytes, which are fewer than it has, in at most `limit` bytes.
    func part(skipping skipped: UInt64, limit: UInt64) -> Extent {
        var part = self
        part.start = start.advanced(by: skipped)
        part.count = min(count - skipped, limit)
        switch storage {
        case .data(let file, let offset): part.storage = .data(file: file, offset: offset.advanced(by: skipped))
        case .encoded(.encrypted, let file, let offset, _):
            let position = start.rawValue % 512 + skipped
            part.storage = .encoded(
                .encrypted, file: file, offset: offset.advanced(by: position / 512 * 512),
                count: (position % 512 + part.count + 511) / 512 * 512)
        // Every part of a compressed cluster comes from the same bytes.
        case .encoded(.compressed, _, _, _), .encoded(.checked, _, _, _), .zero, .unallocated: break
        }
        if let reserved {
            part.reserved = Reserved(file: reserved.file, offset: reserved.offset.advanced(by: skipped))
        }
        return part
    }
}

extension HostFile {
    /// Whether both are one file, whatever they were opened by.
    fileprivate func isSame(as other: any HostFile) -> Bool {
        id == other.id || (identity != nil && identity == other.identity)
    }
}

extension ImageLayer {
    /// Whether both are layers of one image, be it of different snapshots: they then decode the same bytes, at the same
    /// place of the disk, alike.
    fileprivate func isOfSameImage(as other: any ImageLayer) -> Bool {
        if self === other { return true }
        guard type(of: self) == type(of: other), let file = files.first, let otherFile = other.files.first else {
            return false
        }
        return file.isSame(as: otherFile)
    }
}
