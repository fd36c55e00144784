/// Which contents each sector of a disk may have at a moment: what its client asked for, and what it was told.
package struct DiskHistory: Sendable {
    /// A content that a sector has, had or may get.
    private struct Version {
        /// 0: zeros.
        var generation: UInt64
        var issued: Int
        var acknowledged: Int
        /// Whether those before it are over once it is on stable storage.
        var replaces = true
    }

    /// What a sector must at least have: the moment when the request was issued that is known to be on stable storage.
    package struct Floor: Sendable {
        /// How many flushes count.
        package let flushes: Int
        fileprivate let issued: [Int]
    }

    /// What the sectors were before: 0 for zeros, else a generation.
    private let initial: [UInt64]
    /// What they got since then.
    private var versions: [[Version]]
    private let flushes: [(issued: Int, acknowledged: Int)]

    /// The disk had the generations `initial` (0: zeros) before `requests`.
    package init(_ initial: [UInt64], _ requests: [ClientRequest]) {
        self.initial = initial
        versions = Array(repeating: [], count: initial.count)
        var flushes: [(issued: Int, acknowledged: Int)] = []
        for request in requests {
            for (index, sector) in request.sectors.enumerated() {
                var version = Version(generation: 0, issued: request.issued, acknowledged: request.acknowledged)
                switch request.kind {
                case .write(let generations): version.generation = generations[index]
                case .zero(let mayKeep): version.replaces = !mayKeep
                case .flush: break
                }
                versions[sector].append(version)
            }
            if request.kind == .flush, request.acknowledged != .max {
                flushes.append((request.issued, request.acknowledged))
            }
        }
        self.flushes = flushes.sorted { $0.acknowledged < $1.acknowledged }
    }

    /// The number of sectors.
    package var sectorCount: Int { initial.count }

    /// How many flushes were acknowledged by `time`.
    package func flushCount(at time: Int) -> Int { flushes.count { $0.acknowledged <= time } }

    /// What sectors must have after so many flushes.
    package func floor(flushes count: Int) -> Floor {
        let stable = flushes.prefix(count).map(\.issued).max() ?? 0
        let issued = versions.map { versions in
            versions.reduce(-1) { $1.replaces && $1.acknowledged < stable ? max($0, $1.issued) : $0 }
        }
        return Floor(flushes: count, issued: issued)
    }

    /// Whether `sector` may be `content` at `time`.
    package func allows(_ content: GuestSector, in sector: Int, at time: Int, _ floor: Floor) -> Bool {
        let generation: UInt64
        switch content {
        case .zeros: generation = 0
        case .generation(let number): generation = number
        case .foreign: return false
        }
        let least = floor.issued[sector]
        if least < 0, generation == initial[sector] { return true }
        return versions[sector].contains {
            $0.generation == generation && $0.issued <= time && $0.acknowledged >= least
        }
    }

    /// Whether all sectors may be as they were before.
    func allowsInitial(at time: Int, _ floor: Floor) -> Bool {
        initial.indices.allSatisfy {
            allows(initial[$0] == 0 ? .zeros : .generation(initial[$0]), in: $0, at: time, floor)
        }
    }

    /// What `sector` may be at `time`, in words.
    package func allowed(in sector: Int, at time: Int, _ floor: Floor) -> String {
        let least = floor.issued[sector]
        var generations = versions[sector].filter { $0.issued <= time && $0.acknowledged >= least }.map(\.generation)
        if least < 0 { generations.insert(initial[sector], at: 0) }
        return generations.map { $0 == 0 ? "zeros" : "generation \($0)" }.joined(separator: " or ")
    }
}
