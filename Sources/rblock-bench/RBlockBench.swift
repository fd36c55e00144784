import ArgumentParser
import Foundation
import TestImages

/// Measures reading through the mount beside the best peer for this job and the bare file, in one run.
@main
struct RBlockBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rblock-bench",
        abstract: "Read images through rblockfs and through qemu-storage-daemon's FUSE export, in alternation.",
        discussion: """
            Fills a disk from the files of /usr, makes an image of it in each format, and reads every image through \
            each server in turn, several rounds, with a cold FUSE cache over warm image files. Prints the median of \
            every measure, its spread, and its ratio to the peer's in the same rounds.

            EXAMPLES
              rblock-bench
              rblock-bench --quick
              rblock-bench --size 4G --rounds 7 --output json
            """)

    enum Output: String, ExpressibleByArgument, CaseIterable {
        case human, json
    }

    @Option(help: "The size of the disk, as 512M or 4G.")
    var size = "2G"

    @Option(help: "How often everything is measured.")
    var rounds = 5

    @Flag(help: "A disk of 512 MiB and 3 rounds.")
    var quick = false

    @Option(help: "human: a table. json: a line per image, server and measure.")
    var output = Output.human

    @Option(help: "The rblockfs to measure; by default the one beside this program.")
    var rblockfs: String?

    func run() throws {
        let folder = try TemporaryFolder()
        let disk = try Disk(size: quick ? 512 << 20 : byteCount(size), in: folder)
        let command =
            rblockfs ?? URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().path
            + "/rblockfs"
        var results: [Result] = []
        for image in try disk.makeImages() {
            let servers: [any Server] = [
                try RBlockServer(command, image: image, in: folder), try StorageDaemon(image: image, in: folder),
                BareFile(path: disk.path),
            ]
            results += try measure(image, servers)
            if output == .human { printTable(results.filter { $0.image == image.name }) }
        }
        if output == .json { try printLines(results) }
    }

    private func measure(_ image: DiskImage, _ servers: [any Server]) throws -> [Result] {
        var figures: [String: [String: [Double]]] = [:]
        for round in 0..<(quick ? 3 : rounds) {
            // The order is turned round every time, so that drift of the machine's speed falls on all alike.
            for server in round.isMultiple(of: 2) ? servers : servers.reversed() {
                for measure in Measure.allCases {
                    let figure = try measure.run(server)
                    figures[measure.rawValue, default: [:]][server.name, default: []].append(figure)
                }
            }
        }
        return Measure.allCases.flatMap { measure in
            servers.map { server in
                Result(
                    image: image.name, server: server.name, measure: measure.rawValue,
                    rounds: figures[measure.rawValue]?[server.name] ?? [],
                    peer: figures[measure.rawValue]?[StorageDaemon.peerName] ?? [])
            }
        }
    }

    private func printTable(_ results: [Result]) {
        print("\n\(results.first?.image ?? "")")
        print(row(["", "server", "median", "min", "max", "to peer"]))
        for result in results {
            print(
                row([
                    result.measure, result.server, figure(result.median), figure(result.rounds.min() ?? 0),
                    figure(result.rounds.max() ?? 0), String(format: "%.2f x", result.ratioToPeer),
                ]))
        }
    }

    private func row(_ fields: [String]) -> String {
        let widths = [28, 20, 10, 10, 10, 9]
        return zip(fields, widths).enumerated().map { index, field in
            let padding = String(repeating: " ", count: max(0, field.1 - field.0.count))
            return index < 2 ? field.0 + padding : padding + field.0
        }.joined(separator: " ")
    }

    private func figure(_ value: Double) -> String { String(format: "%.0f", value) }

    private func printLines(_ results: [Result]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        for result in results { print(String(decoding: try encoder.encode(result), as: UTF8.self)) }
    }

    private func byteCount(_ text: String) throws -> Int {
        let shifts: [Character: Int] = ["K": 10, "M": 20, "G": 30]
        let shift = text.last.flatMap { shifts[$0] }
        guard let number = Int(shift == nil ? text[...] : text.dropLast()), (1..<(1 << 30)).contains(number) else {
            throw ValidationError("--size: '\(text)' is no size; write 512M or 4G")
        }
        return number << (shift ?? 0)
    }
}

/// What one server did in one measure.
struct Result: Encodable {
    var image: String
    var server: String
    var measure: String
    /// One figure a round.
    var rounds: [Double]
    var median: Double
    /// The median of the rounds' ratios to the peer's figure in the same round.
    var ratioToPeer: Double

    init(image: String, server: String, measure: String, rounds: [Double], peer: [Double]) {
        func median(_ values: [Double]) -> Double { values.sorted().dropFirst(values.count / 2).first ?? 0 }
        self.image = image
        self.server = server
        self.measure = measure
        self.rounds = rounds
        self.median = median(rounds)
        ratioToPeer = median(zip(rounds, peer).map { $0 / $1 })
    }
}
