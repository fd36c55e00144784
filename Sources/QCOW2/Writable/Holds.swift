import BlockImage

/// Who changes which guest clusters now. What changes where a cluster lies has it alone; what writes in place has it
/// together with others that do. Who comes first goes first.
final class ClusterHolds: Sendable {
    /// A turn at clusters, to be given back.
    struct Hold: Sendable {
        fileprivate let number: UInt64
        fileprivate let clusters: Range<UInt64>
        fileprivate let isShared: Bool
    }

    private struct State {
        /// In the order of their numbers: those that go on, and those that wait for these.
        var holds: [Hold] = []
        var next: UInt64 = 0

        mutating func add(_ clusters: Range<UInt64>, isShared: Bool) -> Hold {
            let hold = Hold(number: next, clusters: clusters, isShared: isShared)
            holds.append(hold)
            next += 1
            return hold
        }
    }

    private let state = Awaited(State())

    /// How many go on or wait.
    var count: Int { state.change { $0.holds.count } }

    /// Waits for a turn at `clusters`.
    func take(_ clusters: Range<UInt64>, isShared: Bool) -> Hold {
        var added: Hold?
        return state.wait { state in
            let hold = added ?? state.add(clusters, isShared: isShared)
            added = hold
            let before = state.holds.prefix { $0.number < hold.number }
            let isFree = before.allSatisfy { other in
                !other.clusters.overlaps(hold.clusters) || other.isShared && hold.isShared
            }
            return isFree ? hold : nil
        }
    }

    /// Ends the turn.
    func giveBack(_ hold: Hold) {
        state.change { state in state.holds.removeAll { $0.number == hold.number } }
    }
}

/// The reads by extents that go on now. Host space that the disk gave up is used for something else only when all of them
/// have ended that may have found it there.
final class ReadHolds: Sendable {
    private struct State {
        var generation: UInt64 = 0
        /// How many began in which generation, and have not ended.
        var readers: [UInt64: Int] = [:]
    }

    private let state = Guarded(State())

    /// Begins to read; the answer ends it.
    func begin() -> UInt64 {
        state.withLock { state in
            state.readers[state.generation, default: 0] += 1
            return state.generation
        }
    }

    /// Ends what began in `generation`.
    func end(_ generation: UInt64) {
        state.withLock { state in
            let left = (state.readers[generation] ?? 1) - 1
            state.readers[generation] = left == 0 ? nil : left
        }
    }

    /// Begins a new generation, and answers the one before: those who read in it may have seen what is given up now.
    func endGeneration() -> UInt64 {
        state.withLock { state in
            defer { state.generation += 1 }
            return state.generation
        }
    }

    /// The first generation in which anyone may still read.
    var first: UInt64 {
        state.withLock { state in state.readers.keys.min() ?? state.generation }
    }
}

/// A request that reads, for as long as this is kept.
final class ReadHold: Sendable {
    private let holds: ReadHolds
    private let generation: UInt64

    init(_ holds: ReadHolds) {
        self.holds = holds
        generation = holds.begin()
    }

    deinit {
        holds.end(generation)
    }
}
