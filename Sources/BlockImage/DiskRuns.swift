/// The runs of a disk, or of a part of it, found from its start to its end, each once.
///
/// A walk: not to be shared by threads, but what it answers may be. Bounded where that is asked for: a small hostile image
/// can have any number of runs (`WalkBudget`).
public struct DiskRuns: Sendable {
    private let image: Image
    /// Where on the disk nothing more is asked for.
    private let limit: UInt64
    /// Whether what cannot be found is a run with an `error`, which is taken for zeros; else it is thrown.
    private let ignoresErrors: Bool
    /// What may be looked up and read; nil: all of it.
    private var budget: WalkBudget?
    /// What the last look-up cost, which the next one pays for.
    private var cost = 1
    /// The look-ups in layers that were made so far; see `WalkBudget`.
    public private(set) var lookUps = 0
    /// What was found and not gone past yet, the first run last.
    private var found: [DiskRun] = []
    /// What was found last of the holes of each file: one answer of the host often covers many clusters.
    private var stretches: [HostFileID: (bytes: Range<UInt64>, isHole: Bool)] = [:]

    /// Whether what was found last was short: then what follows probably is, too.
    private var isFragmented = false

    /// Down chains of more layers than this, short runs are found together.
    static let shortChain = 2
    /// What is looked up is seldom stored in more than one run if it is not longer.
    static let shortRead = 32 << 10
    /// How much of a disk is looked up together.
    private static let batchSize: UInt64 = 2 << 20

    /// The runs of `image` up to the byte `limit`; by default, to its end. Nothing is looked up yet.
    public init(of image: Image, to limit: UInt64 = .max, ignoresErrors: Bool = false, budget: WalkBudget? = nil) {
        self.image = image
        self.limit = limit
        self.ignoresErrors = ignoresErrors
        self.budget = budget
    }

    /// The run at `start`, of at most `limit` bytes; past the end of the disk, zeros. Places are asked for in order:
    /// what lies before one that was asked for is looked up again.
    ///
    /// Throws what damaged metadata throws, unless that is ignored; `unsupported` where the budget is used up; and that
    /// what this thread does was cancelled.
    public mutating func run(at start: UInt64, limit: UInt64) throws(ImageError) -> DiskRun {
        guard start < image.virtualSize else {
            let zeros = Extent(start: GuestOffset(start), count: limit, storage: .zero(explicit: false))
            return DiskRun(zeros, of: image.layer)
        }
        while let run = found.last, run.end <= start { found.removeLast() }
        if let run = found.last, run.start.rawValue <= start { return run.part(from: start, limit: limit) }
        found.removeAll(keepingCapacity: true)
        guard budget?.takeLookUps(cost) ?? true else {
            throw ImageError(
                .unsupported, about: .disk, "stored in too many runs: looked at up to \(GuestOffset(start))")
        }
        lookUps += cost
        cost = image.layersAsked
        let wanted = min(max(self.limit, start + 1), image.virtualSize) - start
        if isFragmented, let all = try? image.resolveAll(Int(min(wanted, Self.batchSize)), from: GuestOffset(start)) {
            cost = all.lookUps
            found.append(contentsOf: all.runs.reversed())
        } else {
            found.append(try resolve(at: start, limit: wanted))
        }
        let meanCount = (found[0].end - start) / UInt64(found.count)
        isFragmented = image.layersAsked > Self.shortChain && meanCount < Self.batchSize / 2
        return found[found.count - 1].part(from: start, limit: limit)
    }

    private mutating func resolve(at start: UInt64, limit: UInt64) throws(ImageError) -> DiskRun {
        do throws(ImageError) {
            let run = try image.resolve(at: GuestOffset(start), limit: limit)
            cost = WalkBudget.lookUps(in: run.depth + run.layer.layersAsked, of: image, for: run.count)
            return run
        } catch {
            guard ignoresErrors, !error.isCancelled, !error.isWouldBlock else { throw error }
            let count = skipLost(at: start, limit: limit)
            return DiskRun(lost: count, at: GuestOffset(start), of: image.layer, because: error)
        }
    }

    /// How many of the `limit` bytes at `start`, about which `run` threw, are lost with it: the walk goes on behind them.
    /// All of them, once the budget is used up.
    public mutating func skipLost(at start: UInt64, limit: UInt64) -> UInt64 {
        guard !isOver else { return limit }
        let count = image.lost(at: GuestOffset(start), limit: limit)
        cost = WalkBudget.lookUps(in: 2 * image.layersAsked, of: image, for: count)
        return count
    }

    /// Whether the walk ended early, since the disk is stored in too many runs.
    public var isOver: Bool { budget?.isUsedUp == true }

    /// Takes the reading of the first `count` bytes of `run`. Throws `unsupported` where more is read than the files hold.
    public mutating func takeReading(_ count: UInt64, of run: DiskRun) throws(ImageError) {
        guard budget != nil, !run.isZeros else { return }
        guard budget?.takeReading(run.part(from: run.start.rawValue, limit: count).extent) ?? true else {
            throw ImageError(
                .unsupported, about: .disk, "stored in more runs than its files can hold: read up to \(run.start)")
        }
    }

    /// What `run` begins with: a hole of its host file, or what is no hole. Asks the host, which may wait for a disk.
    public mutating func splitAtHoles(_ run: DiskRun) -> DiskRun {
        guard case .data(let file, let offset) = run.extent.storage else { return run }
        let (isHole, count) = stretch(of: file, at: offset.rawValue, limit: run.count)
        var part = run.part(from: run.start.rawValue, limit: count)
        part.isHostHole = isHole
        return part
    }

    private mutating func stretch(
        of file: any HostFile, at offset: UInt64, limit: UInt64
    ) -> (isHole: Bool, count: UInt64) {
        if let known = stretches[file.id], known.bytes.contains(offset) {
            return (known.isHole, min(limit, known.bytes.upperBound - offset))
        }
        // To the end of the file, so that the answer serves the clusters after this one as well.
        let stretch = file.run(at: HostOffset(offset), limit: max(limit, file.size - min(offset, file.size)))
        let count = max(1, stretch.count)
        stretches[file.id] = (offset..<HostOffset(offset).advanced(by: count).rawValue, stretch.isHole)
        return (stretch.isHole, min(limit, count))
    }
}
