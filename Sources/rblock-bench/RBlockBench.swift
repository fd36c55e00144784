import ArgumentParser
import Arguments
import Foundation
import HostTools

/// The benchmarks of this package, each beside the peers for its job.
@main
struct RBlockBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblock-bench",
        abstract: "Measure rblockfs and rblock beside their peers, in alternation, and compare.",
        discussion: """
            Without a benchmark's name it is read.

            EXAMPLES
              rblock-bench --quick
              rblock-bench read --images qcow2,chain
              rblock-bench convert --quick
              rblock-bench serve --quick
              rblock-bench write --quick
              rblock-bench files --quick

            EXIT STATUS
              0   everything was measured
              1   it was not, or something was wrong
              64  wrong usage
            """,
        subcommands: [ReadBench.self, ConvertBench.self, ServeBench.self, WriteBench.self, FilesBench.self],
        defaultSubcommand: ReadBench.self)

    /// Says what went wrong, if anything did, and ends with 1.
    static func end(with problems: [String]) throws {
        guard !problems.isEmpty else { return }
        FileHandle.standardError.write(Data(problems.map { "rblock-bench: \($0)\n" }.joined().utf8))
        throw ExitCode(1)
    }
}

/// What is said to every benchmark.
struct BenchOptions: ParsableArguments {
    enum Output: String, ExpressibleByArgument, CaseIterable {
        case human, json
    }

    @Option(
        help: "The size of the disk, as 512M or 8G; it needs three times as much room. (default: 4G; less with --quick)"
    )
    var size: ByteSize?

    @Option(help: "How often everything is measured. (default: 5; --quick: 3)")
    var rounds: Int?

    @Option(
        help: ArgumentHelp("Where the disk and its images are made, on a disk and not in memory.", valueName: "path"))
    var folder = "/var/tmp"

    @Option(help: "human: tables. json: a line for each row of them.")
    var output = Output.human

    func validate() throws {
        let size = size(4 << 30)
        guard size >= 16 << 20, size <= 1 << 40, size.isMultiple(of: 1 << 20) else {
            throw ValidationError("--size: write a multiple of 1M from 16M to 1T")
        }
        guard (1...1000).contains(rounds ?? 1) else { throw ValidationError("--rounds: write a number from 1 to 1000") }
    }

    /// The size of the disk in bytes: `usual` unless another is asked for.
    func size(_ usual: Int) -> Int { size?.count ?? usual }

    /// A folder for everything, removed in the end whatever happens.
    func makeFolder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder(in: URL(fileURLWithPath: self.folder).resolvingSymlinksInPath().path)
        try CleanUp.register("rm -rf --one-file-system \"$1\"", folder.path)
        return folder
    }
}

/// Names with commas between them.
struct NameList<Name: CaseIterable & RawRepresentable<String> & Sendable>: ExpressibleByArgument {
    let names: [Name]

    /// All that there are.
    init() {
        names = Array(Name.allCases)
    }

    init?(argument: String) {
        let words = argument.split(separator: ",").map { String($0) }
        names = words.compactMap { Name(rawValue: $0) }
        guard !names.isEmpty, names.count == words.count else { return nil }
    }

    /// All names, for the help.
    static var all: String { Name.allCases.map(\.rawValue).joined(separator: ", ") }

    var defaultValueDescription: String { "all" }
}
