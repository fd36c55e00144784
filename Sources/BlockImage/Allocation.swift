/// How many bytes of a disk are stored in which way, over the whole chain.
public struct Allocation: Hashable, Sendable {
    /// Bytes stored as they are, without the holes that the host file has there.
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

        var isHole: Bool { kind == \.zero || kind == \.unallocated }
    }

    private func run(at start: GuestOffset) throws(ImageError) -> Run {
        let extent = try resolve(at: start, limit: virtualSize - start.rawValue).extent
        switch extent.storage {
        case .data(let file, let offset):
            let run = file.run(at: offset, limit: extent.count)
            return Run(kind: run.isHole ? \.zero : \.data, count: run.count)
        case .encoded: return Run(kind: \.compressed, count: extent.count)
        case .zero(explicit: true): return Run(kind: \.zero, count: extent.count)
        case .zero(explicit: false), .unallocated: return Run(kind: \.unallocated, count: extent.count)
        }
    }

    /// Walks the whole disk and adds up how it is stored, in time proportional to the tables that exist.
    ///
    /// Damaged metadata ends the walk: the second value says where, and what was found before it stands.
    public func allocation() -> (Allocation, ImageError?) {
        var sum = Allocation()
        var position = GuestOffset(0)
        while position.rawValue < virtualSize {
            do throws(ImageError) {
                let run = try run(at: position)
                sum[keyPath: run.kind] += run.count
                position = position.advanced(by: run.count)
            } catch {
                return (sum, error)
            }
        }
        return (sum, nil)
    }

    /// The first place at or after `start`, which lies inside the disk, that is in a hole or in data, as lseek(2) has
    /// it: the end of the disk counts as a hole. Nil where no data follows. Throws what damaged metadata throws.
    public func next(hole: Bool, from start: GuestOffset) throws(ImageError) -> GuestOffset? {
        var position = start
        while position.rawValue < virtualSize {
            let run = try run(at: position)
            if run.isHole == hole { return position }
            position = position.advanced(by: run.count)
        }
        return hole ? GuestOffset(virtualSize) : nil
    }
}
