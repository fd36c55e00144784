/// Disks, one after the other, as one disk. Immutable; every method may be called from any thread.
///
/// It stores nothing: each place is found through the disk that it lies in, with the chain of that.
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

    /// The disk that `parts` make, each of which begins where the one before ends, the first at 0, and is no longer than its
    /// disk; `file` is the one that names them.
    public init(_ parts: [Part], file: any HostFile) {
        var end: UInt64 = 0
        for part in parts {
            precondition(part.start == end && part.end >= end && part.end - end <= part.disk.virtualSize)
            end = part.end
        }
        self.parts = parts
        self.file = file
        virtualSize = end
    }

    /// Keeps those of all parts.
    private final class Holds: Sendable {
        let all: [any AnyObject & Sendable]
        init(_ all: [any AnyObject & Sendable]) { self.all = all }
    }

    /// Those of all parts.
    public func holdForReading() -> (any AnyObject & Sendable)? {
        let holds = parts.compactMap { $0.disk.layer.holdForReading() }
        return holds.isEmpty ? nil : Holds(holds)
    }

    /// The layers of the part that has the most.
    public var layersAsked: Int { 1 + (parts.map(\.disk.layersAsked).max() ?? 0) }
    /// The bytes of the files of all parts.
    public var hostSize: UInt64 { parts.reduce(0) { $0.addingReportingOverflow($1.disk.hostSize).partialValue } }
    /// The smallest of those of the parts.
    public var granuleSize: UInt64 { max(1, parts.map(\.disk.granuleSize).min() ?? 1) }
    /// The file that names the parts, and theirs.
    public var files: [any HostFile] { [file] + parts.flatMap(\.disk.files) }

    /// The part that has `position`, and how many bytes it has from there on.
    private func part(at position: UInt64) -> (part: Part, count: UInt64) {
        guard let part = parts.first(where: { $0.end > position }) else {
            preconditionFailure("no place of the disk is behind its last part")
        }
        return (part, part.end - position)
    }

    /// What the part has at that place; its own layer decodes it.
    public func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        let (part, count) = part(at: start.rawValue)
        var run = try part.disk.resolve(at: GuestOffset(start.rawValue - part.start), limit: min(limit, count))
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
        let (part, _) = part(at: extent.start.rawValue)
        try part.disk.read(
            Int(clamping: extent.count), at: GuestOffset(extent.start.rawValue - part.start), into: &output)
    }

    /// What the part has lost there.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let (part, count) = part(at: start.rawValue)
        return part.disk.lost(at: GuestOffset(start.rawValue - part.start), limit: min(limit, count))
    }
}
