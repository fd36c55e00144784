/// What came of looking at states.
package struct CrashFigures: Sendable, CustomStringConvertible {
    /// Recordings.
    package var recordings = 0
    /// Operations of the host in them.
    package var operations = 0
    /// States that were made, some of them several times.
    package var states = 0
    /// States that differ from all others of their recording.
    package var distinct = 0
    /// States from which writing went on.
    package var continued = 0
    /// States that are wrong.
    package var violations = 0
    /// The first of those, in words.
    package var examples: [String] = []

    /// How many of them are kept.
    private static let exampleLimit = 20

    /// Nothing yet.
    package init() {}

    /// Adds one violation, if there are `complaints`.
    mutating func add(_ complaints: [String], name: String) {
        guard !complaints.isEmpty else { return }
        violations += 1
        if examples.count < Self.exampleLimit { examples.append("\(name)\(complaints.joined(separator: "; "))") }
    }

    /// All but the examples.
    package var description: String {
        "\(recordings) recordings of \(operations) operations, \(states) states, \(distinct) of them distinct, "
            + "\(continued) written on from, \(violations) violations"
    }

    /// Adds those of other recordings.
    package static func += (left: inout Self, right: Self) {
        left.recordings += right.recordings
        left.operations += right.operations
        left.states += right.states
        left.distinct += right.distinct
        left.continued += right.continued
        left.violations += right.violations
        left.examples += right.examples.prefix(max(0, exampleLimit - left.examples.count))
    }
}

/// Looks at all states that a power cut may leave of what was recorded.
package struct CrashRun {
    /// Which states.
    package var options = StateOptions()
    /// Writing goes on from every state whose number is a multiple of this; 0: from none.
    package var continuedEvery = 0
    /// For how many operations.
    package var writes = 12

    /// All states.
    package init() {}

    /// Has `judge` judge each different state of `recording`, and `body`, if that is wanted, look at it as well.
    package func look(
        at recording: Recording, _ judge: any CrashJudge, name: String = "",
        _ body: ((CrashState, [String]) throws -> Void)? = nil
    ) rethrows -> CrashFigures {
        struct Key: Hashable {
            var digest: ContentDigest
            var flushes: Int
        }
        var figures = CrashFigures()
        figures.recordings = 1
        figures.operations = recording.operations.count
        var contents: Set<ContentDigest> = []
        var judged: Set<Key> = []
        var states = CrashStates(recording, options)
        try states.visit { state in
            figures.states += 1
            let digest = state.digest
            guard judged.insert(Key(digest: digest, flushes: judge.flushCount(state))).inserted else { return }
            if contents.insert(digest).inserted { figures.distinct += 1 }
            let goesOn = continuedEvery > 0 && figures.distinct % continuedEvery == 0
            if goesOn { figures.continued += 1 }
            let seed = options.seed &* 1_000_003 &+ UInt64(figures.states)
            let complaints = judge.complaints(state, writes: goesOn ? writes : 0, seed: seed)
            try body?(state, complaints)
            figures.add(complaints, name: "\(name)\(state.name): ")
        }
        return figures
    }
}
