/// A disk: one layer and, under it, the image that backs it. Chains live here, not in layers.
/// Immutable; every method may be called from any thread.
public final class Image: Sendable {
    /// What one place of the disk resolves to.
    public struct Resolution: Sendable {
        /// How the run is stored; never `unallocated`.
        public var extent: Extent
        /// The layer that stores it, and can decode it.
        public var layer: any ImageLayer
        /// How far down the chain that layer is; 0 is the topmost.
        public var depth: Int
    }

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

    /// Finds how the disk is stored from `start` on, through the chain: at least one byte, at most `limit`.
    ///
    /// `start` must lie inside the disk and `limit` be at least one; `outOfRange` otherwise. Also throws what a layer
    /// throws for its metadata.
    public func resolve(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Resolution {
        guard start.rawValue < virtualSize, limit > 0 else {
            throw ImageError(
                .outOfRange, path: "disk", "nothing at \(start): the disk has \(virtualSize) bytes")
        }
        var limit = limit
        var image = self
        var depth = 0
        var reserved: Extent.Reserved?
        while true {
            // A backing image that is shorter than the disk reads as zeros behind its end. As in `qemu-img map`, they are
            // at the depth of the image over it, whose size it is that there is something here.
            guard start.rawValue < image.virtualSize else {
                var zeros = Extent(start: start, count: limit, storage: .zero(explicit: false))
                zeros.reserved = reserved
                return Resolution(extent: zeros, layer: image.layer, depth: depth - 1)
            }
            limit = min(limit, image.virtualSize - start.rawValue)
            var extent = try image.layer.extent(at: start, limit: limit)
            guard case .unallocated = extent.storage else {
                return Resolution(extent: extent, layer: image.layer, depth: depth)
            }
            guard let backing = image.backing else {
                extent.storage = .zero(explicit: false)
                return Resolution(extent: extent, layer: image.layer, depth: depth)
            }
            limit = extent.count
            reserved = extent.reserved
            image = backing
            depth += 1
        }
    }

    /// Appends exactly the `count` bytes of the disk from `start` on to `output`, which must have room for them.
    ///
    /// Throws `outOfRange` when the disk ends first; what was read before an error stays in `output`.
    public func read(_ count: Int, at start: GuestOffset, into output: inout OutputRawSpan) throws(ImageError) {
        if layersAsked > 2, count > Self.shortRead, let runs = try? resolveAll(count, from: start) {
            for run in runs { try read(run, into: &output) }
            return
        }
        var position = start
        var left = UInt64(clamping: count)
        while left > 0 {
            let found = try resolve(at: position, limit: left)
            try read(found, into: &output)
            position = position.advanced(by: found.extent.count)
            left -= found.extent.count
        }
    }

    /// Reads that are not longer are seldom stored in more than one run.
    private static let shortRead = 32 << 10

    /// Appends the bytes of a run, which has at most as many as an Int can count.
    private func read(_ found: Resolution, into output: inout OutputRawSpan) throws(ImageError) {
        let count = Int(truncatingIfNeeded: found.extent.count)
        switch found.extent.storage {
        case .data(let file, let offset): try file.read(count, at: offset, into: &output)
        case .zero, .unallocated: output.appendZeros(count)
        case .encoded: try found.layer.decode(found.extent, into: &output)
        }
    }
}
