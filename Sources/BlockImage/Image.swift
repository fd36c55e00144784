/// A disk: one layer and, under it, the image that backs it. Chains live here, not in layers.
/// Immutable; every method may be called from any thread.
public final class Image: Sendable {
    /// The topmost layer.
    public let layer: any ImageLayer
    /// The image under it, if any.
    public let backing: Image?
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    /// The most layers that are asked where one place of the disk is stored.
    public let layersAsked: Int
    /// The bytes of all files that it is stored in.
    public let hostSize: UInt64
    /// The fewest bytes that an entry of a table is for, in all its layers.
    let granuleSize: UInt64

    /// The files of all of its layers.
    public var files: [any HostFile] { layer.files + (backing?.files ?? []) }

    /// The disk that `layer` makes over `backing`.
    public init(layer: any ImageLayer, backing: Image? = nil) {
        self.layer = layer
        self.backing = backing
        virtualSize = layer.virtualSize
        layersAsked = layer.layersAsked + (backing?.layersAsked ?? 0)
        let (size, overflow) = layer.hostSize.addingReportingOverflow(backing?.hostSize ?? 0)
        hostSize = overflow ? .max : size
        granuleSize = max(1, min(layer.granuleSize, backing?.granuleSize ?? .max))
    }

    /// The run of the disk at `start`, found through the chain: at least one byte, at most `limit`.
    ///
    /// `start` must lie inside the disk and `limit` be at least one; `outOfRange` otherwise. Also throws what a layer
    /// throws for its metadata.
    public func resolve(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        guard start.rawValue < virtualSize, limit > 0 else {
            throw ImageError(
                .outOfRange, about: .disk, "nothing at \(start): the disk has \(virtualSize) bytes")
        }
        var limit = limit
        var image = self
        var depth = 0
        var reserved: Extent.Reserved?
        while true {
            // A backing image that is shorter than the disk reads as zeros past its end. As in `qemu-img map`, they are at
            // the depth of the image over it, whose size it is that there is something here.
            guard start.rawValue < image.virtualSize else {
                var zeros = Extent(start: start, count: limit, storage: .zero(explicit: false))
                zeros.reserved = reserved
                return DiskRun(zeros, of: image.layer, depth: depth - 1)
            }
            limit = min(limit, image.virtualSize - start.rawValue)
            var run = try image.layer.run(at: start, limit: limit)
            run.depth += depth
            guard case .unallocated = run.extent.storage else { return run }
            guard let backing = image.backing else {
                run.extent.storage = .zero(explicit: false)
                return run
            }
            limit = run.count
            reserved = run.extent.reserved
            image = backing
            depth += 1
        }
    }

    /// Appends exactly the `count` bytes of the disk from `start` on to `output`, which must have that much capacity left.
    ///
    /// Throws `outOfRange` when the disk ends first; what was read before an error stays in `output`.
    public func read(_ count: Int, at start: GuestOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let hold = layer.holdForReading()
        defer { withExtendedLifetime(hold) {} }
        if layersAsked > DiskRuns.shortChain, count > DiskRuns.shortRead,
            let found = try? resolveAll(count, from: start)
        {
            for run in found.runs { try run.read(into: &output) }
            return
        }
        var position = start
        var left = UInt64(clamping: count)
        while left > 0 {
            let run = try resolve(at: position, limit: left)
            try run.read(into: &output)
            position = position.advanced(by: run.count)
            left -= run.count
        }
    }
}

extension Image {
    /// The disk as the image `depth` steps down the chain has it; nil where the chain is shorter.
    public func layer(_ depth: Int) -> Image? {
        var (image, left): (Image?, Int) = (self, depth)
        while left > 0, let layer = image { (image, left) = (layer.backing, left - 1) }
        return image
    }
}
