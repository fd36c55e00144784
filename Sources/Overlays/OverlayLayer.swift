import BlockImage
import Glibc
import ImageFormats
import QCOW2
import SystemPackage

/// The topmost layer of a disk that can be written, in the place of the image's own: what was written to the overlay, and where
/// nothing was, what the image has. Every method may be called from any thread.
public final class OverlayLayer: ImageLayer {
    /// What is written.
    public let disk: OverlayDisk
    /// Why it cannot be written to; nil where it can.
    public let refusal: ImageError?
    /// Whether the image is encrypted, and what is written over it is not.
    public let isPlaintext: Bool
    private let top: any ImageLayer
    private let base: OverlayBase
    private let opened: OpenedImage

    init(_ opened: OpenedImage, _ base: OverlayBase, _ disk: OverlayDisk) {
        (top, self.base, self.opened, self.disk) = (base.image.layer, base, opened, disk)
        do throws(ImageError) {
            try base.checkCanHaveOverlay(disk.settings, isNew: !disk.isThere)
            refusal = nil
        } catch {
            refusal = error
        }
        isPlaintext = base.encrypted != nil
    }

    /// The size of the disk in bytes.
    public var virtualSize: UInt64 { base.image.virtualSize }
    /// Two: what was written, and the image.
    public var layersAsked: Int { top.layersAsked + 1 }
    /// The files of the image, which stay as they are.
    public var files: [any HostFile] { top.files }
    /// Not known: the overlay grows.
    public var hostSize: UInt64 { .max }
    /// The fewest bytes that an entry of its tables is for.
    public var granuleSize: UInt64 { min(top.granuleSize, disk.layer?.granuleSize ?? .max) }
    /// The bytes of a sector of the disk.
    public var logicalSectorSize: Int? { top.logicalSectorSize }
    /// The bytes of the disk that are stored: of the image, and of the overlay.
    public var allocatedSize: UInt64 {
        let (sum, overflow) = (opened.disk.allocatedSize ?? virtualSize)
            .addingReportingOverflow(disk.allocatedSize ?? 0)
        return overflow ? virtualSize : min(virtualSize, sum)
    }
    /// Why QEMU does not open the overlay; nil where it does.
    public var reasonAgainstQEMU: ErrorText? { base.reasonAgainstQEMU }

    /// What the overlay has at that place, else what the image has; the layer that has it decodes it.
    public func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        let limit = min(limit, virtualSize - start.rawValue)
        guard let written = disk.layer else { return try top.run(at: start, limit: limit) }
        let run = try written.run(at: start, limit: limit)
        guard case .unallocated = run.extent.storage else { return run }
        return try top.run(at: start, limit: run.count)
    }

    /// What `run` has there, as if this layer stored it.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        try run(at: start, limit: limit).extent
    }

    /// Has the layer decode it that stores that place.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        let run = try run(at: extent.start, limit: extent.count)
        try run.layer.decode(extent, into: &output)
    }

    /// How many bytes are lost there: in the image alone.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 { top.lost(at: start, limit: limit) }

    /// Has the disk hold `bytes` at `start`, inside of it. Throws `system` with EIO where the image has changed since it was
    /// opened: nothing is written over it any more.
    public func write(_ bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        try checkBase()
        try disk.write(bytes, at: start, over: base)
    }

    /// Has the `count` bytes at `start` read as zeros; `mayUnmap`: their space is given back.
    public func zero(_ count: UInt64, at start: GuestOffset, mayUnmap: Bool) throws(ImageError) {
        try checkBase()
        try disk.zero(count, at: start, mayUnmap: mayUnmap, over: base)
    }

    /// Gives back the space of the `count` bytes at `start`; where that takes marks only, they read as zeros then.
    public func discard(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
        try checkBase()
        try disk.discard(count, at: start, over: base)
    }

    /// Whether it takes less to have the `count` bytes at `start`, inside of the disk, read as zeros than to write them: where
    /// marks do that for a part of them at least.
    public func zeroesFast(_ count: UInt64, at start: GuestOffset) throws(ImageError) -> Bool {
        try checkBase()
        let size = try disk.layer(over: base).zeroingSize
        let end = start.rawValue + count
        let skip = start.rawValue % size
        let first = skip == 0 ? 0 : size - skip
        return first < count && (end == virtualSize || count - first >= size)
    }

    private func checkBase() throws(ImageError) {
        guard let file = opened.fileChangedLately else { return }
        throw ImageError(
            .system(errno: EIO), path: file.path,
            "was written to: nothing is written over it any more, and the overlay stays")
    }

    /// That of what was written.
    public func holdForReading() -> (any AnyObject & Sendable)? { disk.layer?.holdForReading() }
}

extension OverlayDisk {
    /// The image `opened` at `location` with what was written over its disk; `isFile`: it is a file of its own.
    ///
    /// Where the overlay cannot be used, the disk cannot be read: without it, it is another one.
    public func view(of opened: OpenedImage, at location: FilePath, isFile: Bool, ignoresChanges: Bool) -> OpenedImage {
        guard let image = opened.disk.image else { return opened }
        let base = OverlayBase(image: image, layers: opened.layers, location: location, isFile: isFile)
        do throws(ImageError) {
            try open(over: base, ignoresChanges: ignoresChanges)
            let layer = OverlayLayer(opened, base, self)
            return opened.showing(.success(Image(layer: layer, backing: image.backing)))
        } catch {
            return opened.showing(.failure(error))
        }
    }
}
