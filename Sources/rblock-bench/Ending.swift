import Foundation
import HostTools
import Synchronization

/// What happens when Ctrl-C is pressed, or a signal asks the benchmark to end.
enum Ending {
    private static let isRequested = Atomic(false)

    /// Has the signals that end a program remove mounts, loop devices and files first. The exit status is 128 and the
    /// signal, as shells tell it. To be called before there is any other thread, which would get the signals too.
    private static func beginsWithCleanUp() {
        var set = sigset_t()
        sigemptyset(&set)
        for number in [SIGINT, SIGTERM, SIGHUP] { sigaddset(&set, number) }
        pthread_sigmask(SIG_BLOCK, &set, nil)
        Tool.startInGroups()
        let signals = set
        Thread.detachNewThread {
            var awaited = signals
            var number: CInt = 0
            guard sigwait(&awaited, &number) == 0 else { return }
            isRequested.store(true, ordering: .sequentiallyConsistent)
            // First what would go on writing where CleanUp removes.
            Tool.endAll()
            CleanUp.run()
            _exit(128 + number)
        }
    }

    /// Does `work`, as `beginsWithCleanUp` says; what fails because the end has begun is not reported.
    static func endingCleanly(_ work: () throws -> Void) throws {
        beginsWithCleanUp()
        do {
            try work()
        } catch {
            holdIfRequested()
            throw error
        }
    }

    /// To be called before each step: does not return once the end has begun, lest more be started, or what fails now be
    /// reported.
    static func holdIfRequested() {
        while isRequested.load(ordering: .sequentiallyConsistent) { sleep(1) }
    }
}
