import ArgumentParser
import Arguments
import Foundation
import HostTools

/// Measures reading through the mount beside the peers for this job and the bare file, in one run.
struct ReadBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "read",
        abstract: "Read images through rblockfs and its peers, in alternation, and compare.",
        discussion: """
            Makes a disk with a partition full of files of /usr, an image of it in each format, one after the other, and \
            reads every image through each server in turn, several rounds, with a cold FUSE cache over warm image files. \
            Prints the median of every measure, its spread, and the median of its ratios, round by round, to \
            qemu-storage-daemon's figure (qsd), that of a C program that does the least a FUSE server can (loop) and that of \
            the bare file. Every server must have read the same, which check sums tell. Loop devices need root, and so do \
            the read-ahead that makes mounts fast, and raw files that the kernel reads by itself ('rblockfs passthrough').

            EXAMPLES
              rblock-bench read
              rblock-bench read --quick
              rblock-bench read --images qcow2,chain --measures sequential,random-1 --rounds 9
              rblock-bench read --size 8G --servers rblockfs,qemu-storage-daemon --output json

            EXIT STATUS
              0   everything was measured, but for peers that cannot; whether targets are reached does not matter
              1   rblockfs cannot be measured, or it or QEMU showed something else than the disk
              64  wrong usage
            """)

    @OptionGroup var options: BenchOptions

    @Flag(help: "A small disk, few rounds, and no peer but qemu-storage-daemon: less than two minutes.")
    var quick = false

    @Option(help: "Only these images: \(NameList<ImageKind>.all).")
    var images = NameList<ImageKind>()

    @Option(help: "Only these measures: \(NameList<Measure>.all).")
    var measures = NameList<Measure>()

    @Option(help: "Only these servers: \(NameList<ServerKind>.all).")
    var servers: NameList<ServerKind>?

    @Option(help: ArgumentHelp("The rblockfs to measure; by default the one beside this program.", valueName: "path"))
    var rblockfs: String?

    func run() throws {
        try Ending.endingCleanly(compareAll)
    }

    private func compareAll() throws {
        let folder = try options.makeFolder()
        // Copies go to memory where there is room: a disk that is being written to is another thing to measure.
        let size = options.size(quick ? 48 << 20 : 4 << 30)
        let copies = try TemporaryFolder(in: Self.hasRoom("/dev/shm", for: size) ? "/dev/shm" : folder.path)
        try CleanUp.register("rm -rf --one-file-system \"$1\"", copies.path)
        let progress = Progress()
        progress.show("making a disk of \(size >> 20) MiB")
        let disk = try GuestDisk(size: size, fullness: 0.65, in: folder)
        let workload = Workload(size: size, copy: copies.file("copy"))
        progress.show("reading the disk")
        let sums = try Comparison.checkSums(of: disk, measures.names, workload)
        let kinds = servers?.names ?? (quick ? ServerKind.quick : ServerKind.allCases)
        var problems: [String] = []
        for kind in images.names {
            progress.show("\(kind.rawValue): making the image")
            let comparison = Comparison(
                kinds: kinds.filter { $0.serves(kind) }, measures: measures.names,
                rounds: options.rounds ?? (quick ? 3 : 5), progress: progress)
            let rows = try measure(kind, of: disk, comparison, workload, sums, in: folder)
            Ending.holdIfRequested()
            progress.show("")
            try report(rows, kind)
            problems += rows.compactMap(\.failure)
        }
        withExtendedLifetime((folder, copies)) {}
        try RBlockBench.end(with: problems)
    }

    /// Makes the image, measures it, and removes it: there is not room in memory for all of them.
    private func measure(
        _ kind: ImageKind, of disk: GuestDisk, _ comparison: Comparison, _ workload: Workload,
        _ sums: Comparison.CheckSums, in folder: TemporaryFolder
    ) throws -> [Row] {
        let own = try folder.makeFolder("image-\(kind.rawValue)")
        defer { try? FileManager.default.removeItem(atPath: own) }
        let image = try DiskImage(kind, of: disk, in: own)
        let here = URL(fileURLWithPath: Tool.rblockfs).deletingLastPathComponent().path
        let programs = Programs(rblockfs: rblockfs ?? Tool.rblockfs, floor: "\(here)/rblock-bench-floor")
        let cells = try comparison.run(image, disk, workload, sums) { server in
            try server.start(image, of: disk, programs: programs, in: folder)
        }
        return comparison.measures.flatMap { measure in
            comparison.kinds.map { Row(kind, measure, $0, cells[measure] ?? [:], size: disk.size) }
        }
    }

    private func report(_ rows: [Row], _ kind: ImageKind) throws {
        switch options.output {
        case .human: print(Table(title: kind.title, rows: rows).text)
        case .json: for row in rows { print(try row.line()) }
        }
        fflush(nil)
    }

    private static func hasRoom(_ folder: String, for size: Int) -> Bool {
        var status = statvfs()
        return statvfs(folder, &status) == 0 && Int(status.f_bavail) * Int(status.f_frsize) > size * 2
    }
}
