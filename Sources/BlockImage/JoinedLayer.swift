/// Disks, one after the other, as one disk. Immutable; every method may be called from any thread.
///
/// It stores nothing: each place is found through the disk that it lies in, with the chain of that. What lies between two of
/// them, or behind the last, reads as zeros.
public final class JoinedLayer: ImageLayer {
    /// A disk, and where it lies.
    public struct Part: Sendable {
        /// Its first byte.
        public var start: UInt64
        /// The byte after its last.
        public var end: UInt64
        /// The disk.
        public var disk: Image

        /// The bytes of `disk` from its first one on, from `start` to `end`.
        public init(_ disk: Image, from start: UInt64, to end: UInt64) {
            self.disk = disk
            self.start = start
            self.end = end
        }
    }

    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    private let parts: [Part]
    private let file: any HostFile

    /// The disk of `size` bytes that `parts` make, in their order and without overlaps; `file` is the one that names them.
    public init(_ parts: [Part], size: UInt64, file: any HostFile) {
        self.parts = parts
        self.file = file
        virtualSize = size
    }

    /// The layers of the part that has the most.
    public var layersAsked: Int { 1 + (parts.map(\.disk.layersAsked).max() ?? 0) }
    /// The bytes of the files of all parts.
    public var hostSize: UInt64 { parts.reduce(0) { $0.addingReportingOverflow($1.disk.hostSize).partialValue } }
    /// The smallest of those of the parts.
    public var granuleSize: UInt64 { max(1, parts.map(\.disk.granuleSize).min() ?? 1) }
    /// The file that names the parts, and theirs.
    public var files: [any HostFile] { [file] + parts.flatMap(\.disk.files) }

    /// The part that has `position`; nil where none has, with how many bytes there are before the next one.
    private func part(at position: UInt64) -> (part: Part?, count: UInt64) {
        for part in parts where part.end > position {
            return part.start <= position ? (part, part.end - position) : (nil, part.start - position)
        }
        return (nil, virtualSize - position)
    }

    /// What the part has at that place; its own layer decodes it.
    public func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        let (part, count) = part(at: start.rawValue)
        let limit = min(limit, count)
        guard let part, start.rawValue - part.start < part.disk.virtualSize else {
            return DiskRun(Extent(start: start, count: limit, storage: .zero(explicit: false)), of: self)
        }
        var run = try part.disk.resolve(at: GuestOffset(start.rawValue - part.start), limit: limit)
        run.start = start
        return run
    }

    /// What `run` has there, as if this layer stored it.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        var extent = try run(at: start, limit: limit).extent
        extent.start = start
        return extent
    }

    /// The part finds again which of its layers can decode that place.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard let part = part(at: extent.start.rawValue).part else { preconditionFailure("nothing is encoded here") }
        try part.disk.read(
            Int(clamping: extent.count), at: GuestOffset(extent.start.rawValue - part.start), into: &output)
    }

    /// What the part has lost there.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let (part, count) = part(at: start.rawValue)
        guard let part else { return min(limit, count) }
        return part.disk.lost(at: GuestOffset(start.rawValue - part.start), limit: min(limit, count))
    }
}
