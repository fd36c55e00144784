import HostTools

/// What a power cut may leave.
package struct CrashState: Sendable {
    /// The contents of the files.
    package var files: [HostContent]
    /// Which of the files have their names.
    package var isNamed: [Bool]
    /// How many operations were done before.
    package var prefix: Int
    /// What is missing or torn of those that were not on stable storage; empty: nothing.
    package var losses: String
    /// The latest moment of the power cut, by the clock of the recording.
    package var time: Int

    /// What tells states apart.
    package var digest: ContentDigest {
        zip(files, isNamed).dropFirst().reduce(isNamed[0] ? files[0].digest : HostContent().digest) {
            $0.followed(by: $1.1 ? $1.0.digest : HostContent().digest)
        }
    }

    /// Which it is, for messages.
    package var name: String { losses.isEmpty ? "after \(prefix) operations" : "after \(prefix) operations, \(losses)" }
}

/// Which states are made of a recording.
package struct StateOptions: Sendable {
    /// Up to so many pending changes, every subset of them is a state: 1,024.
    package var exhaustive = 10
    /// Of more, so many subsets.
    package var subsets = 32
    /// So many states with torn changes after each operation.
    package var tears = 24
    /// The most states after each operation; chosen by the seed where there are more.
    package var limit = Int.max
    /// What is chosen among many.
    package var seed: UInt64 = 1

    /// The full set.
    package init() {}
}

/// Makes the states that a power cut may leave: after every operation, with any subset of what was not on stable storage,
/// in whole or torn. The same content may come several times.
package struct CrashStates {
    private typealias Part = PendingChange.Part

    private let recording: Recording
    private let options: StateOptions
    private var random: SeededRandom
    /// The files with all that is on stable storage, and with all that was done.
    private var stable: [HostContent]
    private var current: [HostContent]
    private var isNamedStably: [Bool]
    private var isNamed: [Bool]
    private var pending: [PendingChange] = []

    /// The states of `recording`.
    package init(_ recording: Recording, _ options: StateOptions = StateOptions()) {
        self.recording = recording
        self.options = options
        random = SeededRandom(seed: options.seed)
        (stable, current) = (recording.files, recording.files)
        (isNamedStably, isNamed) = (recording.isNamed, recording.isNamed)
    }

    /// Lets `body` look at each state.
    package mutating func visit(_ body: (CrashState) throws -> Void) rethrows {
        try body(state(0, current, isNamed, ""))
        for (index, operation) in recording.operations.enumerated() {
            switch operation {
            case .change(let change, let file): perform(change, file, index)
            case .sync(let file, let covering):
                settle { $0.file == file && $0.index < covering && !$0.isName }
            case .syncFolder(let files, let covering):
                settle { files.contains($0.file) && $0.index < covering && $0.isName }
            }
            // Also after a sync: then the same contents may have to hold more.
            try body(state(index + 1, current, isNamed, ""))
            guard case .change = operation else { continue }
            for parts in choices() { try body(build(parts, index + 1)) }
        }
    }

    private func state(_ prefix: Int, _ files: [HostContent], _ isNamed: [Bool], _ losses: String) -> CrashState {
        CrashState(
            files: files, isNamed: isNamed, prefix: prefix, losses: losses, time: recording.time(after: prefix))
    }

    private mutating func perform(_ change: HostChange, _ file: Int, _ index: Int) {
        let before = current[file]
        current[file].apply(change)
        switch change {
        case .link: isNamed[file] = true
        case .unlink: isNamed[file] = false
        default: break
        }
        pending.append(PendingChange(change, index: index, file: file, before: before, after: current[file]))
    }

    /// Puts pending changes on stable storage.
    private mutating func settle(_ isCovered: (PendingChange) -> Bool) {
        for change in pending where isCovered(change) {
            change.apply(.whole, to: &stable[change.file], &isNamedStably[change.file])
        }
        pending.removeAll(where: isCovered)
    }

    /// The state with these parts of the pending changes.
    private func build(_ parts: [Part], _ prefix: Int) -> CrashState {
        var (files, isNamed) = (stable, isNamedStably)
        var losses: [String] = []
        for (change, part) in zip(pending, parts) {
            change.apply(part, to: &files[change.file], &isNamed[change.file])
            if let loss = part.text { losses.append("operation \(change.index + 1) \(loss)") }
        }
        return state(prefix, files, isNamed, losses.joined(separator: ", "))
    }
}

extension CrashStates {
    /// What there is of the pending changes in the states after the last of them, but for the one with all: those
    /// without it were states before it.
    private mutating func choices() -> [[Part]] {
        let count = pending.count
        var choices = subsets(count)
        choices += tears(count)
        if choices.count > options.limit {
            choices.shuffle(using: &random)
            choices.removeLast(choices.count - options.limit)
        }
        return choices
    }

    private mutating func subsets(_ count: Int) -> [[Part]] {
        if count <= options.exhaustive {
            return (0..<(1 << (count - 1)) - 1).map { mask in
                (0..<count).map { $0 == count - 1 || mask >> $0 & 1 == 1 ? .whole : .missing }
            }
        }
        var choices: [[Part]] = (0..<count - 1).map { lost in (0..<count).map { $0 == lost ? .missing : .whole } }
        choices.append((0..<count).map { $0 == count - 1 ? .whole : .missing })
        for _ in 0..<options.subsets { choices.append(context(.whole, at: count - 1, 2)) }
        return choices
    }

    /// States with a torn change: mostly the last one, sometimes an earlier one.
    private mutating func tears(_ count: Int) -> [[Part]] {
        var choices: [[Part]] = []
        for number in 0..<options.tears {
            let index = number % 4 == 3 ? Int.random(in: 0..<count, using: &random) : count - 1
            // The others: all, none, or some.
            let others = number % 3
            var content = stable[pending[index].file]
            var isNamed = false
            let kept = context(.missing, at: index, others)
            for (change, part) in zip(pending, kept).prefix(index) where change.file == pending[index].file {
                change.apply(part, to: &content, &isNamed)
            }
            guard let part = tear(pending[index], of: content) else { continue }
            var choice = kept
            choice[index] = part
            choices.append(choice)
        }
        return choices
    }

    /// `part` at `index`; of the others all (0), none (1), or those that chance leaves (2).
    private mutating func context(_ part: Part, at index: Int, _ others: Int) -> [Part] {
        var parts: [Part] = []
        for other in pending.indices {
            let isKept = others == 0 || others == 2 && Bool.random(using: &random)
            parts.append(other == index ? part : isKept ? .whole : .missing)
        }
        return parts
    }

    /// A part of `change`, which is done to `content`; nil where it cannot be torn.
    private mutating func tear(_ change: PendingChange, of content: HostContent) -> Part? {
        if change.grows(content.size), Int.random(in: 0..<3, using: &random) == 0 {
            return Bool.random(using: &random) ? .size : .withoutGrowth
        }
        let changed = change.changedSectors(of: content)
        guard changed.count > 1 else { return nil }
        let cut = Int.random(in: 1..<changed.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: return .sectors(Set(changed.prefix(cut)))
        case 1: return .sectors(Set(changed.dropFirst(cut)))
        default:
            var sectors: Set<Int> = []
            for sector in changed where Bool.random(using: &random) { sectors.insert(sector) }
            return .sectors(sectors)
        }
    }
}

extension PendingChange.Part {
    /// What is lost, in words; nil: nothing.
    fileprivate var text: String? {
        switch self {
        case .whole: nil
        case .missing: "missing"
        case .sectors(let sectors): "torn: sectors \(sectors.sorted()) of it"
        case .size: "of zeros: its size without its bytes"
        case .withoutGrowth: "cut: its bytes without its size"
        }
    }
}
