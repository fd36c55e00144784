import ArgumentParser
import CrashReplay
import Foundation

/// Looks for what a power cut would lose, for as long as one likes: `make crash`.
@main
struct RBlockCrash: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblock-crash",
        abstract: "Replays random writes to QCOW2 images up to every power cut, and judges what that leaves.",
        discussion:
            "Ends when there are enough scripts or states, or after the minutes; with status 1 if any state is wrong.")

    @Option(help: "The seed of the first script; the next ones follow.")
    var seed: UInt64 = 1
    @Option(help: "How many scripts at most.")
    var scripts: Int?
    @Option(help: "How many distinct states are enough.")
    var states: Int?
    @Option(help: "For how many minutes.")
    var minutes = 10.0
    @Option(help: "How many scripts run at once.")
    var threads = ProcessInfo.processInfo.activeProcessorCount
    @Option(help: "How many requests each script has.")
    var operations = 16
    @Option(help: "How many clients make these requests at the same time; with more than one, a seed does not repeat.")
    var clients = 1
    @Option(help: "How many states at most are made after each operation of the host.")
    var perOperation = 64
    @Option(help: "Writing goes on from one of so many states.")
    var continuedEvery = 4

    func run() throws {
        var scripts = CrashScripts()
        scripts.seed = seed
        scripts.scripts = self.scripts ?? .max
        scripts.states = states
        let start = ContinuousClock.now
        scripts.deadline = start + .seconds(minutes * 60)
        scripts.threads = threads
        scripts.operations = operations
        scripts.clients = clients
        scripts.perOperation = perOperation
        scripts.continuedEvery = continuedEvery
        let figures = scripts.run { figures in
            if figures.recordings % 100 == 0 { print(figures) }
        }
        for example in figures.examples { print(example) }
        print("\(figures), \(start.duration(to: .now)), seeds from \(seed)")
        if figures.violations > 0 { throw ExitCode.failure }
    }
}
