import BlockImage

/// A run of a disk that is stored in one way, under the keys of `qemu-img map --output=json` with their meaning.
public struct MapEntry: Hashable, Sendable {
    /// Where it begins on the disk, in bytes.
    public var start: UInt64
    /// How many bytes it has.
    public var length: UInt64
    /// The place in the chain of the image that stores it; 0 is the topmost.
    public var depth: Int
    /// Whether an image of the chain stores it, be it as zeros.
    public var present: Bool
    /// Whether it reads as zeros without looking at it.
    public var zero: Bool
    /// Whether there are bytes for it on the host.
    public var data: Bool
    /// Whether these are compressed.
    public var compressed: Bool
    /// Where in its file they lie, where they lie as they are, or have room; they may be a hole of that file.
    public var offset: UInt64?
    /// The file that they lie in, compressed or not.
    public var file: HostFileID?

    /// Whether `next`, which begins where this ends, goes on in the same way.
    fileprivate func isContinued(by next: MapEntry) -> Bool {
        depth == next.depth && present == next.present && zero == next.zero && data == next.data
            && compressed == next.compressed && file == next.file && offset.map { $0 + length } == next.offset
    }
}

/// The runs of a disk, or of a part of it, in their order, with neighbours that are alike joined into one. Each is looked
/// up when it is asked for.
public struct DiskMap: Sendable {
    /// The first byte behind what is mapped.
    public let limit: UInt64
    private var runs: DiskRuns
    private var position: UInt64
    /// The run that the next one may continue.
    private var pending: MapEntry?

    /// The map of `image` from the byte `start` on, of at most `count` bytes. Empty where nothing of the disk is there.
    public init(_ image: Image, from start: UInt64 = 0, count: UInt64 = .max) {
        position = start
        let end = start.addingReportingOverflow(count)
        limit = min(image.virtualSize, end.overflow ? .max : end.partialValue)
        runs = DiskRuns(of: image, to: limit, budget: WalkBudget(hostSize: image.hostSize))
    }

    /// Where the runs that were answered, and what is known of the one after them, end.
    public var end: UInt64 { position }

    /// Goes on behind the place that `next` threw about: answers what is lost with it.
    public mutating func skipLost() -> (start: UInt64, length: UInt64) {
        let rest = limit - min(position, limit)
        let length = rest == 0 ? 0 : runs.skipLost(at: position, limit: rest)
        defer { position += length }
        return (position, length)
    }

    /// The next run; nil at the end. Throws what damaged metadata throws, once the runs before it have been
    /// answered; and `unsupported` where there are more runs than the disk's files can have.
    public mutating func next() throws(ImageError) -> MapEntry? {
        while position < limit {
            let entry: MapEntry
            do throws(ImageError) {
                entry = MapEntry(runs.splitAtHoles(try runs.run(at: position, limit: limit - position)))
            } catch {
                guard let last = pending else { throw error }
                pending = nil
                return last
            }
            position += entry.length
            guard var joined = pending else {
                pending = entry
                continue
            }
            if joined.isContinued(by: entry) {
                joined.length += entry.length
                pending = joined
            } else {
                pending = entry
                return joined
            }
        }
        defer { pending = nil }
        return pending
    }
}

extension MapEntry {
    /// What `run`, whose host holes are known, is in a map.
    fileprivate init(_ run: DiskRun) {
        self.init(
            start: run.start.rawValue, length: run.count, depth: run.depth, present: true, zero: false, data: true,
            compressed: false)
        switch run.extent.storage {
        case .data(let file, let offset):
            self.file = file.id
            self.offset = offset.rawValue
            zero = run.isHostHole
            data = !run.isHostHole
        case .encoded(.compressed, let file, _, _):
            self.file = file.id
            compressed = true
        case .encoded(.checked, let file, _, _):
            self.file = file.id
        case .encoded(.encrypted, let file, let offset, _):
            self.file = file.id
            self.offset = offset.rawValue
        case .zero(explicit: let isExplicit):
            present = isExplicit
            zero = true
            data = false
            file = run.extent.reserved?.file.id
            offset = run.extent.reserved?.offset.rawValue
        case .unallocated:
            present = false
            zero = true
            data = false
        }
    }
}
