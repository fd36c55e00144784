/// A disk whose pieces lie on other disks, such as a logical volume. Immutable; every method may be called from any thread.
///
/// It stores nothing: each place is found through the whole chain of the disk that has it, as in a `SliceLayer`.
public final class MappedLayer: ImageLayer {
    /// A place on another disk.
    public struct Place: Sendable {
        /// The disk.
        public var disk: Image
        /// The byte of it.
        public var start: GuestOffset

        /// The byte `start` of `disk`.
        public init(_ disk: Image, at start: GuestOffset) {
            (self.disk, self.start) = (disk, start)
        }
    }

    /// A part of the disk that is spread evenly over one or several places.
    public struct Piece: Sendable {
        /// How many bytes it has: with several stripes, a multiple of their number and size.
        public var count: UInt64
        /// Where its stripes begin; at least one.
        public var stripes: [Place]
        /// How many bytes come from one stripe before it is the turn of the next; more than 0.
        public var stripeSize: UInt64

        /// `count` bytes of the disk of `place` from there on.
        public init(_ count: UInt64, at place: Place) {
            self.init(count, over: [place], stripeSize: max(1, count))
        }

        /// `count` bytes, of which each of `stripes` has `stripeSize` in turn.
        public init(_ count: UInt64, over stripes: [Place], stripeSize: UInt64) {
            (self.count, self.stripes, self.stripeSize) = (count, stripes, stripeSize)
        }
    }

    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    /// The most layers that one `extent(at:limit:)` asks: those of the disk with the longest chain.
    public let layersAsked: Int
    /// The bytes of all files that it is stored in.
    public let hostSize: UInt64
    /// The fewest bytes that an entry of its tables is for.
    public let granuleSize: UInt64
    /// The files of all layers of the disks, each once.
    public let files: [any HostFile]
    private let pieces: [Piece]
    /// Where each piece ends.
    private let ends: [UInt64]

    /// The disk that `pieces` make, one after the other; none is empty. Throws `corrupt` where they have more bytes together
    /// than any file can have.
    public init(_ pieces: [Piece]) throws(ImageError) {
        var end: UInt64 = 0
        var ends: [UInt64] = []
        for piece in pieces {
            let (sum, overflow) = end.addingReportingOverflow(piece.count)
            guard !overflow, sum <= UInt64(Int64.max) else {
                throw ImageError(.corrupt, about: .disk, "its \(pieces.count) pieces have 2^63 bytes or more together")
            }
            end = sum
            ends.append(end)
        }
        self.pieces = pieces
        self.ends = ends
        virtualSize = end
        var disks: [ObjectIdentifier: Image] = [:]
        for place in pieces.lazy.flatMap(\.stripes) { disks[ObjectIdentifier(place.disk)] = place.disk }
        layersAsked = disks.values.map(\.layersAsked).max() ?? 1
        granuleSize = disks.values.map(\.granuleSize).min() ?? 1 << 62
        var seen: Set<HostFileID> = []
        files = pieces.flatMap {
            $0.stripes.flatMap { disks.removeValue(forKey: ObjectIdentifier($0.disk))?.files ?? [] }
        }
        .filter { seen.insert($0.id).inserted }
        hostSize = files.reduce(0) { saturatingSum($0, $1.size) }
    }

    /// Where the byte `position`, which lies inside the disk, is, and how many of the bytes from there on lie together.
    public func place(of position: UInt64) -> (disk: Image, start: GuestOffset, count: UInt64) {
        var (low, high) = (0, ends.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if ends[middle] > position { high = middle } else { low = middle + 1 }
        }
        let piece = pieces[low]
        let left = ends[low] - position
        let offset = piece.count - left
        guard piece.stripes.count > 1 else {
            return (piece.stripes[0].disk, piece.stripes[0].start.advanced(by: offset), left)
        }
        let (turn, inside) = offset.quotientAndRemainder(dividingBy: piece.stripeSize)
        let (row, column) = turn.quotientAndRemainder(dividingBy: UInt64(piece.stripes.count))
        let stripe = piece.stripes[Int(column)]
        return (
            stripe.disk, stripe.start.advanced(by: row * piece.stripeSize + inside),
            min(left, piece.stripeSize - inside)
        )
    }

    /// What the disk that has that place has there; its own layer decodes it.
    public func run(at start: GuestOffset, limit: UInt64) throws(ImageError) -> DiskRun {
        guard start.rawValue < virtualSize else {
            throw ImageError(.outOfRange, about: .disk, "nothing at \(start): the volume has \(virtualSize) bytes")
        }
        let place = place(of: start.rawValue)
        var run = try place.disk.resolve(at: place.start, limit: min(limit, place.count))
        run.start = start
        return run
    }

    /// The runs of the `count` bytes from `start` on, which lie inside the disk: see `Image.resolveAll`.
    func runs(_ count: Int, from start: GuestOffset) throws(ImageError) -> (runs: [DiskRun], lookUps: Int) {
        var (runs, lookUps): ([DiskRun], Int) = ([], 0)
        var position = start.rawValue
        let end = position + UInt64(clamping: count)
        while position < end {
            let place = place(of: position)
            let step = min(place.count, end - position)
            let found = try place.disk.resolveAll(Int(clamping: step), from: place.start)
            runs += found.runs.map { run in
                var run = run
                run.start = GuestOffset(position + (run.start.rawValue - place.start.rawValue))
                return run
            }
            lookUps += found.lookUps
            position += step
        }
        return (runs, lookUps)
    }

    /// What `run` has there, as if this layer stored it.
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        var extent = try run(at: start, limit: limit).extent
        extent.start = start
        return extent
    }

    /// The disks find again which of their layers can decode that place.
    public func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        var (position, left) = (extent.start.rawValue, extent.count)
        while left > 0 {
            let place = place(of: position)
            let step = min(place.count, left)
            try place.disk.read(Int(clamping: step), at: place.start, into: &output)
            position += step
            left -= step
        }
    }

    /// How many bytes of the layer from `start` on, where `extent(at:limit:)` throws, have no extent for the same reason: what
    /// the disk has lost there.
    public func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let place = place(of: start.rawValue)
        return place.disk.lost(at: place.start, limit: min(limit, place.count))
    }
}
