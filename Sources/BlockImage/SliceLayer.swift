/// A part of a disk as a disk of its own, such as a partition. Immutable; every method may be called from any thread.
///
/// It stores nothing: each place is found through the whole chain of the disk, so that data, zeros, holes of the host
/// and encoded clusters of a part are just those of the disk. `unallocated` is never answered, since the disk below has
/// decided already.
public final class SliceLayer: ImageLayer {
    /// The size of the part in bytes.
    public let virtualSize: UInt64
    /// Where on the disk the part begins.
    public let start: GuestOffset
    /// The disk that it is a part of.
    public let disk: Image

    /// The `size` bytes of `disk` from `start` on; what of them is past the end of the disk is left out.
    public init(of disk: Image, from start: GuestOffset, size: UInt64) {
        self.disk = disk
        self.start = start
        virtualSize = start.rawValue < disk.virtualSize ? min(size, disk.virtualSize - start.rawValue) : 0
    }

    /// The most layers that one `extent(at:limit:)` asks, this one included: 1, unless it is a view of a whole chain:
    /// every layer of the disk may have to be asked.
    public var layersAsked: Int { disk.layersAsked }

    /// That of the disk.
    public func holdForReading() -> (any AnyObject & Sendable)? { disk.layer.holdForReading() }

    /// The bytes of the files that it is stored in: they bound what walks over its tables may take.
    public var hostSize: UInt64 { disk.hostSize }

    /// The fewest bytes that an entry of its tables is for.
    public var granuleSize: UInt64 { disk.granuleSize }

    /// The bytes of a sector of the disk.
    public var logicalSectorSize: Int? { disk.layer.logicalSectorSize }

    /// How many bytes of the layer from `start` on, where `extent(at:limit:)` throws, have no extent for the same
    /// reason: at least one, at most `limit`: what the disk has lost there.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        disk.lost(at: self.start.advanced(by: start.rawValue), limit: min(limit, virtualSize - start.rawValue))
    }

    /// The files of all layers of the disk.
    public var files: [any HostFile] { disk.files }

    /// What the disk has at that place, from where this part counts; its own layer decodes it.
    public func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        guard start.rawValue < virtualSize else {
            throw ImageError(
                .outOfRange, about: .disk, "nothing at \(start): the part of the disk has \(virtualSize) bytes")
        }
        // The part may end inside a run of the disk.
        let left = min(limit, virtualSize - start.rawValue)
        return part(of: try disk.resolve(at: self.start.advanced(by: start.rawValue), limit: left))
    }

    /// The runs of the `count` bytes from `start` on, which lie inside the part: see `Image.resolveAll`.
    func runs(_ count: Int, from start: GuestOffset) throws(ImageError) -> (runs: [DiskRun], lookUps: Int) {
        let found = try disk.resolveAll(count, from: self.start.advanced(by: start.rawValue))
        return (found.runs.map { part(of: $0) }, found.lookUps)
    }

    /// `run` of the disk as a run of this part.
    private func part(of run: DiskRun) -> DiskRun {
        var run = run
        run.start = GuestOffset(run.start.rawValue - start.rawValue)
        return run
    }

    /// What `run` has there, as if this layer stored it.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        var extent = try run(at: start, limit: limit).extent
        extent.start = start
        return extent
    }

    /// The disk finds again which of its layers can decode that place. Its tables are kept by then.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        try disk.read(Int(clamping: extent.count), at: start.advanced(by: extent.start.rawValue), into: &output)
    }
}

extension Image {
    /// The `size` bytes from `start` on as a disk; what of them is past the end of this disk is left out.
    public func slice(from start: GuestOffset, size: UInt64) -> Image {
        Image(layer: SliceLayer(of: self, from: start, size: size))
    }
}
