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

    /// The disk that `layer` makes over `backing`.
    public init(layer: any ImageLayer, backing: Image? = nil) {
        self.layer = layer
        self.backing = backing
        virtualSize = layer.virtualSize
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
        while true {
            // A backing image that is shorter than the disk reads as zeros behind its end.
            guard start.rawValue < image.virtualSize else {
                let zeros = Extent(start: start, count: limit, storage: .zero(explicit: false))
                return Resolution(extent: zeros, layer: image.layer, depth: depth)
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
            image = backing
            depth += 1
        }
    }

    /// Appends exactly the `count` bytes of the disk from `start` on to `output`, which must have room for them.
    ///
    /// Throws `outOfRange` when the disk ends first; what was read before an error stays in `output`.
    public func read(_ count: Int, at start: GuestOffset, into output: inout OutputRawSpan) throws(ImageError) {
        var position = start
        var left = UInt64(clamping: count)
        while left > 0 {
            let found = try resolve(at: position, limit: left)
            // At most `left`, which came from an Int.
            let run = Int(truncatingIfNeeded: found.extent.count)
            switch found.extent.storage {
            case .data(let file, let offset): try file.read(run, at: offset, into: &output)
            case .zero, .unallocated: output.appendZeros(run)
            case .encoded: try found.layer.decode(found.extent, into: &output)
            }
            position = position.advanced(by: found.extent.count)
            left -= found.extent.count
        }
    }
}

/// How many bytes of a disk are stored in which way, over the whole chain.
public struct Allocation: Hashable, Sendable {
    /// Bytes stored as they are, without the holes that the host file has there.
    public var data: UInt64 = 0
    /// Bytes that are stored compressed, counted as the guest sees them.
    public var compressed: UInt64 = 0
    /// Bytes that a layer says are zeros, and holes of the host file where data would lie.
    public var zero: UInt64 = 0
    /// Bytes that no layer of the chain stores.
    public var unallocated: UInt64 = 0

    /// Bytes that a reader can expect something in.
    public var allocated: UInt64 { data + compressed }
}

extension Image {
    /// Walks the whole disk and adds up how it is stored, in time proportional to the tables that exist.
    ///
    /// A range whose metadata is damaged counts as nothing and ends the walk with its error as the second value:
    /// what was found before it stands.
    public func allocation() -> (Allocation, ImageError?) {
        var sum = Allocation()
        var position = GuestOffset(0)
        while position.rawValue < virtualSize {
            do throws(ImageError) {
                let extent = try resolve(at: position, limit: virtualSize - position.rawValue).extent
                switch extent.storage {
                case .data(let file, let offset): Self.add(extent.count, of: file, at: offset, to: &sum)
                case .zero(explicit: true): sum.zero += extent.count
                case .zero(explicit: false), .unallocated: sum.unallocated += extent.count
                case .encoded: sum.compressed += extent.count
                }
                position = position.advanced(by: extent.count)
            } catch {
                return (sum, error)
            }
        }
        return (sum, nil)
    }

    private static func add(_ count: UInt64, of file: any HostFile, at offset: HostOffset, to sum: inout Allocation) {
        var position = offset
        var left = count
        while left > 0 {
            let run = file.run(at: position, limit: left)
            if run.isHole { sum.zero += run.count } else { sum.data += run.count }
            position = position.advanced(by: run.count)
            left -= run.count
        }
    }
}
