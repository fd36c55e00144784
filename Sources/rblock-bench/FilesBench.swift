import ArgumentParser
import Foundation
import HostTools

/// Measures reading files of guests beside the peers for this job, in one run.
struct FilesBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "files",
        abstract: "Read files of guests with rblock and its peers, in alternation, and compare.",
        discussion: """
            Makes a disk with a partition full of files of /usr, of ext4 and, as root and from 320M on, of XFS, and images of them, and has each program \
            list all files, read one, and archive all: rblock, guestfish, and, as root and of raw disks, the kernel over a \
            loop device that is attached and mounted for it. Prints the median of every measure, its spread, the median of its \
            ratios, round by round, to the figures of the peers, and the most memory that rblock took. Of XFS rblock has a \
            kernel read, as guestfish does of all. 'many' has a million empty files, and needs root. guestfish has the kernel of \
            this machine, or the one in the folder that RBLOCK_KERNEL names.

            EXAMPLES
              rblock-bench files
              rblock-bench files --quick
              rblock-bench files --images raw --measures archive --rounds 9 --output json

            EXIT STATUS
              0   everything was measured, but for peers that cannot; whether targets are reached does not matter
              1   rblock cannot be measured
              64  wrong usage
            """)

    @OptionGroup var options: BenchOptions

    @Flag(help: "A small disk and few rounds: less than two minutes.")
    var quick = false

    @Option(help: "Only these images: \(NameList<ImageKind>.all). (default: raw, qcow2)")
    var images: NameList<ImageKind>?

    @Option(help: "Only these measures: \(NameList<GuestMeasure>.all). (default: all; --quick: without many)")
    var measures: NameList<GuestMeasure>?

    @Option(help: ArgumentHelp("The rblock to measure; by default the one beside this program.", valueName: "path"))
    var rblock: String?

    func run() throws {
        try Ending.endingCleanly(compareAll)
    }

    private func compareAll() throws {
        let folder = try options.makeFolder()
        let progress = Progress()
        let size = options.size(quick ? 512 << 20 : 2 << 30)
        let measures = self.measures?.names ?? (quick ? [.list, .file, .archive] : Array(GuestMeasure.allCases))
        let environment = try GuestReader.guestfishEnvironment(in: folder)
        if environment == nil {
            FileHandle.standardError.write(Data("rblock-bench: guestfish does not start here\n".utf8))
        }
        var problems: [String] = []
        func compare(_ disk: GuestDisk, _ kind: ImageKind, _ measures: [GuestMeasure], isNative: Bool) throws {
            progress.show("\(kind.rawValue): making the image")
            let own = try folder.makeFolder("image")
            defer { try? FileManager.default.removeItem(atPath: own) }
            let comparison = GuestComparison(
                image: try DiskImage(kind, of: disk, in: own), isNative: isNative, rblock: rblock ?? Tool.rblock,
                guestfish: environment, progress: progress)
            let rows = try comparison.run(measures, rounds: options.rounds ?? (quick ? 3 : 5))
            progress.show("")
            try report(rows, "\(isNative ? "ext4" : "XFS") on a \(kind.title)")
            problems += rows.filter { $0.server == GuestReaderKind.rblock.rawValue }.compactMap { row in
                row.problem.map { "\(row.image): \(row.measure): \($0)" }
            }
        }
        progress.show("making a disk of \(size >> 20) MiB")
        let disk = try GuestDisk(size: size, fullness: 0.65, in: folder)
        let kinds = images?.names ?? [.raw, .qcow2]
        let usual = measures.filter { $0 != .many }
        for kind in kinds where !usual.isEmpty { try compare(disk, kind, usual, isNative: true) }
        if Tool.isRoot {
            progress.show("making other disks")
            if !usual.isEmpty, size >= 320 << 20 {
                try compare(try disk.copied(to: "xfs", in: folder), .raw, usual, isNative: false)
            }
            if measures.contains(.many) {
                try compare(try GuestDisk(emptyFiles: 1000, in: folder), .raw, [.many], isNative: true)
            }
        }
        withExtendedLifetime(folder) {}
        try RBlockBench.end(with: problems)
    }

    private func report(_ rows: [PeerRow], _ title: String) throws {
        switch options.output {
        case .human:
            let peers = [("guestfish", "guestfish"), ("loop-mount", "loop mount")]
            print(
                PeerTable(title: title, rows: rows, peers: peers) { GuestMeasure(rawValue: $0)?.title ?? $0 }.text)
        case .json: for row in rows { print(try row.line()) }
        }
        fflush(nil)
    }
}
