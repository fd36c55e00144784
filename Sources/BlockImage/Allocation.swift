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

extension Image {
    /// A run of the disk as a copying tool sees it: holes of the host files are told from data.
    private struct Run {
        var kind: WritableKeyPath<Allocation, UInt64>
        var count: UInt64
        /// How many layers were asked.
        var lookUps: Int

        var isHole: Bool { kind == \.zero || kind == \.unallocated }
    }

    private func run(at start: GuestOffset) throws(ImageError) -> Run {
        let found = try resolve(at: start, limit: virtualSize - start.rawValue)
        var run = Run(kind: \.unallocated, count: found.extent.count, lookUps: found.depth + found.layer.layersAsked)
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

    /// The most look-ups in layers that one walk makes: those of 1 TiB in scattered clusters of 64 KiB.
    ///
    /// A small hostile image can have any number of runs, if all its L1 entries name one L2 table.
    public static let walkLimit = 1 << 24

    /// Walks the whole disk and adds up how it is stored, in time proportional to the tables that exist.
    ///
    /// Damaged metadata, or more runs than `walkLimit`, ends the walk: the second value says where, and what was found
    /// before it stands.
    public func allocation(walkLimit: Int = Image.walkLimit) -> (Allocation, ImageError?) {
        var sum = Allocation()
        var position = GuestOffset(0)
        var steps = 0
        while position.rawValue < virtualSize {
            guard steps < walkLimit else {
                return (
                    sum,
                    ImageError(
                        .unsupported, path: "disk", "stored in too many runs to count them: counted up to \(position)")
                )
            }
            do throws(ImageError) {
                let run = try run(at: position)
                sum[keyPath: run.kind] += run.count
                position = position.advanced(by: run.count)
                steps += run.lookUps
            } catch {
                return (sum, error)
            }
        }
        return (sum, nil)
    }

    /// The first place at or after `start`, which lies inside the disk, that is in a hole or in data, as lseek(2) has
    /// it: the end of the disk counts as a hole. Nil where no data follows. Throws what damaged metadata throws.
    ///
    /// After `walkLimit` look-ups it answers what is never wrong, as lseek(2) allows: that data is here, or that there
    /// is no hole before the end.
    public func next(
        hole: Bool, from start: GuestOffset, walkLimit: Int = Image.walkLimit
    ) throws(ImageError) -> GuestOffset? {
        var position = start
        var steps = 0
        while position.rawValue < virtualSize {
            guard steps < walkLimit else { return hole ? GuestOffset(virtualSize) : position }
            let run = try run(at: position)
            if run.isHole == hole { return position }
            position = position.advanced(by: run.count)
            steps += run.lookUps
        }
        return hole ? GuestOffset(virtualSize) : nil
    }
}
