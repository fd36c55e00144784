import BlockImage

/// Where a disk that can be written lies on one that is written over: the whole of it, or a partition.
public struct WritableRange: Sendable {
    /// What is written to.
    public let layer: OverlayLayer
    /// Where on the disk of that it begins.
    public let start: UInt64
    /// Its bytes.
    public let size: UInt64
    /// Whether it is a part of the disk, which others show as well.
    public let isPart: Bool

    /// The place of `image`; nil for what cannot be written. `alsoRefused`: of what only shows what was written before, too.
    public init?(of image: Image, alsoRefused: Bool = false) {
        size = image.virtualSize
        switch image.layer {
        case let layer as OverlayLayer: (self.layer, start, isPart) = (layer, 0, false)
        case let slice as SliceLayer:
            guard let layer = slice.disk.layer as? OverlayLayer else { return nil }
            (self.layer, start, isPart) = (layer, slice.start.rawValue, true)
        default: return nil
        }
        guard alsoRefused || layer.refusal == nil else { return nil }
    }

    /// What of the `count` bytes at `offset` there is, as a range of the disk; nil for nothing.
    public func range(_ count: UInt64, at offset: UInt64) -> Range<UInt64>? {
        guard offset < size, count > 0 else { return nil }
        return start + offset..<start + offset + min(count, size - offset)
    }
}
