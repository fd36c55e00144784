/// How many bytes of a disk are stored in which way, over the whole chain; in JSON, under the names that they have here.
public struct Allocation: Hashable, Encodable, Sendable {
    /// Bytes stored as they are, without the holes that the host file has there, or encrypted.
    public var data: UInt64 = 0
    /// Bytes that are stored compressed, counted as the guest sees them.
    public var compressed: UInt64 = 0
    /// Bytes that a layer says are zeros, and holes of the host file where data would lie.
    public var zero: UInt64 = 0
    /// Bytes that no layer of the chain stores.
    public var unallocated: UInt64 = 0

    /// Nothing counted yet.
    public init() {}

    /// Bytes that a reader can expect something in.
    public var allocated: UInt64 { data + compressed }
}

/// What a count of how a disk is stored came to.
public struct MeasuredAllocation: Sendable {
    /// What was counted.
    public var sum = Allocation()
    /// What could not be found, where the count went on behind it.
    public var lost = LostRanges()
    /// What ended the count early: the sum is of the disk's beginning only.
    public var error: ImageError?
    /// The look-ups that the count took: see `WalkBudget`.
    public var lookUps = 0

    /// Nothing counted yet.
    public init() {}

    /// The sum, where it is that of the whole disk but for what is lost; nil: it is not known.
    public var whole: Allocation? { error == nil ? sum : nil }
}

extension Image {
    /// A run of the disk as a copying tool sees it: holes of the host files are told from data.
    private struct Run {
        var kind: WritableKeyPath<Allocation, UInt64>
        var count: UInt64
        /// What finding it cost: see `WalkBudget`.
        var lookUps: Int

        var isHole: Bool { kind == \.zero || kind == \.unallocated }
    }

    private func run(at start: GuestOffset) throws(ImageError) -> Run {
        let found = try resolve(at: start, limit: virtualSize - start.rawValue)
        let lookUps = WalkBudget.lookUps(
            in: found.depth + found.layer.layersAsked, of: self, for: found.extent.count)
        var run = Run(kind: \.unallocated, count: found.extent.count, lookUps: lookUps)
        switch found.extent.storage {
        case .data(let file, let offset):
            let onHost = file.run(at: offset, limit: run.count)
            run.kind = onHost.isHole ? \.zero : \.data
            run.count = onHost.count
        case .encoded(.compressed, _, _, _): run.kind = \.compressed
        case .encoded(.encrypted, _, _, _): run.kind = \.data
        case .zero(explicit: true): run.kind = \.zero
        case .zero(explicit: false), .unallocated: break
        }
        return run
    }

    /// The most look-ups in layers that one walk makes, whatever files the disk is stored in: those of 1 TiB in scattered
    /// clusters of 64 KiB.
    public static let walkLimit = 1 << 24

    /// What a walk over the disk may take: in proportion to its files, and at most `limit` look-ups.
    private func budget(_ limit: Int) -> WalkBudget {
        WalkBudget(hostSize: hostSize, mostLookUps: UInt64(clamping: limit))
    }

    /// Walks the whole disk and adds up how it is stored, in time proportional to the tables that exist.
    ///
    /// Damaged metadata, or more runs than `walkLimit` or than the disk's files can have, ends the walk: the second value
    /// says where, and what was found before it stands.
    public func allocation(walkLimit: Int = Image.walkLimit) -> (Allocation, ImageError?) {
        let measured = measure(walkLimit: walkLimit, ignoresErrors: false)
        return (measured.sum, measured.error)
    }

    /// Walks the whole disk and adds up how it is stored. `ignoresErrors`: goes on behind what cannot be found, and tells
    /// it as lost.
    public func measure(walkLimit: Int = Image.walkLimit, ignoresErrors: Bool = true) -> MeasuredAllocation {
        var measured = MeasuredAllocation()
        var position = GuestOffset(0)
        var budget = budget(walkLimit)
        var lookUps = 1
        while position.rawValue < virtualSize {
            guard budget.takeLookUps(lookUps) else {
                measured.error = ImageError(
                    .unsupported, path: "disk", "stored in too many runs to count them: counted up to \(position)")
                return measured
            }
            measured.lookUps += lookUps
            do throws(ImageError) {
                let run = try run(at: position)
                measured.sum[keyPath: run.kind] += run.count
                position = position.advanced(by: run.count)
                lookUps = run.lookUps
            } catch {
                guard ignoresErrors, !error.isCancelled else {
                    measured.error = error
                    return measured
                }
                let count = lost(at: position, limit: virtualSize - position.rawValue)
                measured.lost.add(position.rawValue, count, error.description)
                position = position.advanced(by: count)
                lookUps = WalkBudget.lookUps(in: 2 * layersAsked, of: self, for: count)
            }
        }
        return measured
    }

    /// The first place at or after `start`, which lies inside the disk, that is in a hole or in data, as lseek(2) has
    /// it: the end of the disk counts as a hole. Nil where no data follows. Throws what damaged metadata throws.
    ///
    /// After `walkLimit` look-ups, or more than the disk's files can hold, it answers what is never wrong, as lseek(2) allows: that data is here, or that there
    /// is no hole before the end.
    public func next(
        hole: Bool, from start: GuestOffset, walkLimit: Int = Image.walkLimit
    ) throws(ImageError) -> GuestOffset? {
        var position = start
        var budget = budget(walkLimit)
        var lookUps = 1
        while position.rawValue < virtualSize {
            guard budget.takeLookUps(lookUps) else { return hole ? GuestOffset(virtualSize) : position }
            let run = try run(at: position)
            if run.isHole == hole { return position }
            position = position.advanced(by: run.count)
            lookUps = run.lookUps
        }
        return hole ? GuestOffset(virtualSize) : nil
    }
}
