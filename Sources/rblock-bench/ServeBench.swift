import ArgumentParser
import Foundation
import HostTools

/// Measures `rblock serve` beside qemu-nbd and nbdkit, in one run.
struct ServeBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Read images over NBD from rblock, qemu-nbd and nbdkit, in alternation, and compare.",
        discussion: """
            Makes a disk with a partition full of files of /usr, an image of it in each format, one after the other, and has \
            each server in turn serve it over a Unix socket, several rounds; the image files are in the page cache. nbdcopy \
            reads everything into nowhere, and a client of the benchmark's own blocks of 4 KiB. Prints the median of every \
            measure, its spread, and the median of its ratios, round by round, to the figures of the others. What every server \
            has served is compared with the disk. nbdkit has no reader of QCOW2 or VMDK: it is there for raw disks.

            EXAMPLES
              rblock-bench serve
              rblock-bench serve --quick
              rblock-bench serve --images zlib --measures copy-4,random-16 --rounds 9 --output json

            EXIT STATUS
              0   everything was measured; whether targets are reached does not matter
              1   a server failed, or served something else than the disk
              64  wrong usage
            """)

    @OptionGroup var options: BenchOptions

    @Flag(help: "A small disk and few rounds: less than two minutes.")
    var quick = false

    @Option(help: "Only these images: \(NameList<ImageKind>.all). (default: raw, qcow2, zlib, zstd)")
    var images: NameList<ImageKind>?

    @Option(help: "Only these measures: \(NameList<NBDMeasure>.all).")
    var measures = NameList<NBDMeasure>()

    @Option(help: "Only these servers: \(NameList<NBDServerKind>.all).")
    var servers = NameList<NBDServerKind>()

    @Option(help: ArgumentHelp("The rblock to measure; by default the one beside this program.", valueName: "path"))
    var rblock: String?

    func run() throws {
        try Ending.endingCleanly(compareAll)
    }

    private func compareAll() throws {
        let folder = try options.makeFolder()
        let progress = Progress()
        let size = options.size(quick ? 512 << 20 : 4 << 30)
        progress.show("making a disk of \(size >> 20) MiB")
        let disk = try GuestDisk(size: size, fullness: 0.65, in: folder)
        let workload = try NBDWorkload(disk)
        var problems: [String] = []
        for kind in images?.names ?? [.raw, .qcow2, .zlib, .zstd] {
            progress.show("\(kind.rawValue): making the image")
            let own = try folder.makeFolder(kind.rawValue)
            // There is not room in memory for all of them.
            defer { try? FileManager.default.removeItem(atPath: own) }
            let comparison = ServeComparison(
                image: try DiskImage(kind, of: disk, in: own), workload: workload, measures: measures.names,
                folder: folder, rblock: rblock ?? Tool.rblock, progress: progress)
            let rows = try comparison.run(
                servers.names.filter { $0.serves(kind) }, rounds: options.rounds ?? (quick ? 3 : 5))
            progress.show("")
            try report(rows, kind)
            problems += rows.compactMap { row in
                row.problem.map { "\(kind.rawValue): \(row.measure): \(row.server): \($0)" }
            }
        }
        withExtendedLifetime(folder) {}
        try RBlockBench.end(with: problems)
    }

    private func report(_ rows: [PeerRow], _ kind: ImageKind) throws {
        switch options.output {
        case .human:
            let peers = [NBDServerKind.qemu, .nbdkit].map { ($0.rawValue, $0.rawValue) }
            print(
                PeerTable(title: kind.title, rows: rows, peers: peers) { NBDMeasure(rawValue: $0)?.title ?? $0 }.text)
        case .json: for row in rows { print(try row.line()) }
        }
        fflush(nil)
    }
}
