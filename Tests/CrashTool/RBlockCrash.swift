import ArgumentParser
import CrashReplay
import Foundation

/// Looks for what a power cut would lose, for as long as one likes: `make crash`.
@main
struct RBlockCrash: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblock-crash",
        abstract: "Replays random writes to QCOW2 images up to every power cut, and judges what that leaves.",
        subcommands: [Look.self, Overlay.self], defaultSubcommand: Look.self)
}

/// Does the scripts.
struct Look: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Does scripts, and judges what a power cut would leave.",
        discussion:
            "Ends when there are enough scripts or states, or after the minutes; with status 1 if any state is wrong.")

    @Option(
        help: """
            core, creation or commit: what scripts do, in turn where it is given several times; by default all of it, the core \
            mostly. The last two take strace, and the program rblock beside this one.
            """)
    var of: [CrashScripts.Kind] = []
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
        scripts.kinds = of
        if of.isEmpty { scripts.kinds = [.creation, .commit] + Array(repeating: .core, count: 6) }
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
            if figures.total.recordings % 100 == 0 { print(figures.total) }
        }
        for example in figures.total.examples { print(example) }
        for (kind, figures) in figures.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            print("\(kind.rawValue): \(figures)")
        }
        print("\(figures.total), \(start.duration(to: .now)), seeds from \(seed)")
        if figures.total.violations > 0 { throw ExitCode.failure }
    }
}

extension CrashScripts.Kind: ExpressibleByArgument {}

/// Writes over an image as standard input says: what a script of the creation of overlays traces.
struct Overlay: ParsableCommand {
    static let configuration = CommandConfiguration(shouldDisplay: false)

    @Option(name: .customLong("run")) var mark: UInt64
    @Argument var image: String
    @Argument var images: String
    @Argument var overlays: String

    func run() throws {
        let disk = try OverlaidDisk(image, of: images, overlays: overlays)
        while let line = readLine() {
            do {
                try OverlayScript.perform(line, on: disk, run: mark)
                print("done")
            } catch {
                print("failed: \(error)")
            }
        }
    }
}
