import Testing

@testable import Fuse

struct `Whether a thread is stuck` {
    private let start = ContinuousClock.now

    private func look(
        _ progress: inout ThreadProgress, after milliseconds: Int, answered: UInt = 0, hasSlept: Bool = false
    ) -> ThreadProgress.Finding {
        progress.look(
            at: 0, isAnswering: true, answered: answered, start + .milliseconds(milliseconds), hasSlept: hasSlept)
    }

    private func progress() -> ThreadProgress {
        var progress = ThreadProgress()
        progress.add(at: start)
        return progress
    }

    @Test func `shows where it has one request for long`() {
        var progress = progress()
        #expect(look(&progress, after: 50) == .busy)
        #expect(progress.isBusy(0, isAnswering: true, answered: 0))
        #expect(look(&progress, after: 150) == .stuck(isNew: true))
        #expect(look(&progress, after: 160) == .stuck(isNew: false))
        #expect(!progress.isBusy(0, isAnswering: true, answered: 0))
        #expect(progress.isBusy(0, isAnswering: true, answered: 1))
        #expect(look(&progress, after: 170, answered: 1) == .busy)
    }

    @Test func `does not show where nothing was looked at for long`() {
        var progress = progress()
        #expect(look(&progress, after: 60_000, hasSlept: true) == .busy)
        #expect(look(&progress, after: 60_050) == .busy)
        #expect(look(&progress, after: 60_150) == .stuck(isNew: true))
        // What was stuck before the sleep is stuck behind it.
        #expect(look(&progress, after: 120_000, hasSlept: true) == .stuck(isNew: false))
    }
}
