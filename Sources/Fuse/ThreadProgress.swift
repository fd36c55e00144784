/// What the threads of a pool were doing whenever its owner looked. To be used by one thread.
struct ThreadProgress {
    /// What a thread is doing.
    enum Finding: Hashable {
        /// It has no request.
        case free
        /// It has one, and has not had it for long.
        case busy
        /// It is stuck in one; `isNew`: it was not when it was looked at last.
        case stuck(isNew: Bool)
    }

    /// A thread that has one request for longer is taken for stuck.
    static let patience = Duration.milliseconds(100)

    private struct Thread {
        /// How many requests it had answered when it was looked at last, and since when it has not answered another.
        var answered: UInt
        var since: ContinuousClock.Instant
        var isStuck = false
    }

    private var threads: [Thread] = []

    /// Another thread was started.
    mutating func add(at now: ContinuousClock.Instant) { threads.append(Thread(answered: 0, since: now)) }

    /// Takes over what the thread `index` is doing `now`. `hasSlept`: whether the owner has not looked for any time, in which
    /// a request may have begun at the last moment.
    mutating func look(
        at index: Int, isAnswering: Bool, answered: UInt, _ now: ContinuousClock.Instant, hasSlept: Bool
    ) -> Finding {
        guard isAnswering, answered == threads[index].answered else {
            threads[index] = Thread(answered: answered, since: now)
            return isAnswering ? .busy : .free
        }
        if threads[index].isStuck { return .stuck(isNew: false) }
        if hasSlept { threads[index].since = now }
        guard threads[index].since.duration(to: now) > Self.patience else { return .busy }
        threads[index].isStuck = true
        return .stuck(isNew: true)
    }

    /// Whether the thread `index`, which has answered so many requests, has one that it was not known to be stuck in.
    func isBusy(_ index: Int, isAnswering: Bool, answered: UInt) -> Bool {
        isAnswering && !(threads[index].isStuck && threads[index].answered == answered)
    }
}
