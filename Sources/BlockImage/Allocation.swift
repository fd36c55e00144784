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

extension DiskRun {
    /// What it is counted as; holes of host files are known by `DiskRuns.splitAtHoles`.
    fileprivate var kind: WritableKeyPath<Allocation, UInt64> {
        switch extent.storage {
        case .data where isHostHole: \.zero
        case .data, .encoded(.encrypted, _, _, _), .encoded(.checked, _, _, _): \.data
        case .encoded(.compressed, _, _, _): \.compressed
        case .zero(explicit: true): \.zero
        case .zero(explicit: false), .unallocated: \.unallocated
        }
    }
}

extension Image {
    /// The most look-ups in layers that one walk makes, whatever files the disk is stored in: those of 1 TiB in scattered
    /// clusters of 64 KiB.
    public static let walkLimit = 1 << 24

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
        var runs = walk(walkLimit, ignoresErrors: ignoresErrors)
        var position: UInt64 = 0
        while position < virtualSize {
            do throws(ImageError) {
                let run = runs.splitAtHoles(try runs.run(at: position, limit: virtualSize - position))
                if let error = run.error {
                    measured.lost.add(position, run.count, error)
                } else {
                    measured.sum[keyPath: run.kind] += run.count
                }
                position = run.end
            } catch {
                measured.error = error
                break
            }
        }
        measured.lookUps = runs.lookUps
        return measured
    }

    private func walk(_ limit: Int, ignoresErrors: Bool) -> DiskRuns {
        DiskRuns(
            of: self, ignoresErrors: ignoresErrors,
            budget: WalkBudget(hostSize: hostSize, mostLookUps: UInt64(clamping: limit)))
    }

    /// The first place at or after `start`, which lies inside the disk, that is in a hole or in data, as lseek(2) has
    /// it: the end of the disk counts as a hole. Nil where no data follows. Throws what damaged metadata throws.
    ///
    /// After `walkLimit` look-ups, or more than the disk's files can hold, it answers what is never wrong, as lseek(2)
    /// allows: that data is here, or that there is no hole before the end.
    public func next(
        hole: Bool, from start: GuestOffset, walkLimit: Int = Image.walkLimit
    ) throws(ImageError) -> GuestOffset? {
        var runs = walk(walkLimit, ignoresErrors: false)
        var position = start.rawValue
        while position < virtualSize {
            do throws(ImageError) {
                let run = runs.splitAtHoles(try runs.run(at: position, limit: virtualSize - position))
                if run.isZeros == hole { return GuestOffset(position) }
                position = run.end
            } catch {
                guard runs.isOver else { throw error }
                return hole ? GuestOffset(virtualSize) : GuestOffset(position)
            }
        }
        return hole ? GuestOffset(virtualSize) : nil
    }
}
