import ArgumentParser
import Foundation
import HostTools

/// Measures writing over images beside the peers for this job, in one run.
struct WriteBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "write",
        abstract: "Write over images through rblockfs, rblock and their peers, in alternation, and compare.",
        discussion: """
            Makes a disk with a partition full of files of /usr and an image of it, and writes over that through each program \
            in turn, each time to a new overlay: to the file that rblockfs and qemu-storage-daemon show, and over NBD to \
            rblock, qemu-nbd and nbdkit's cow filter. The overlays of QEMU have the options of those that rblock makes. Without \
            'synced', the time ends when the last write is answered, and all is synced after that. Prints the median of every \
            measure, its spread, the median of its ratios, round by round, to the figures of the peers, and what the overlay \
            takes. Every overlay must be the disk that was written, and 'qemu-img check' must find no fault in it. A peer of which \
            that is not so has no figure: qemu-storage-daemon 7.2 mixes up direct writes that are under way at the same time. \
            The files of a guest need root, for a loop device. nbdkit's cow filter keeps nothing, and has no image to sync.

            EXAMPLES
              rblock-bench write
              rblock-bench write --quick
              rblock-bench write --images raw --measures synced,files --rounds 9 --output json

            EXIT STATUS
              0   everything was measured, but for peers that cannot; whether targets are reached does not matter
              1   rblockfs or rblock cannot be measured, or has another disk than the one that was written
              64  wrong usage
            """)

    @OptionGroup var options: BenchOptions

    @Flag(help: "A small disk and few rounds: less than two minutes.")
    var quick = false

    @Option(help: "Only these images: \(NameList<ImageKind>.all). (default: raw, qcow2)")
    var images: NameList<ImageKind>?

    @Option(help: "Only these measures: \(NameList<WriteMeasure>.all).")
    var measures = NameList<WriteMeasure>()

    @Option(help: "Only these servers: \(NameList<WriteServerKind>.all).")
    var servers = NameList<WriteServerKind>()

    func run() throws {
        try Ending.endingCleanly(compareAll)
    }

    private func compareAll() throws {
        let folder = try options.makeFolder()
        let progress = Progress()
        let size = options.size(quick ? 256 << 20 : 1 << 30)
        progress.show("making a disk of \(size >> 20) MiB")
        let disk = try GuestDisk(size: size, fullness: 0.65, in: folder)
        let workload = WriteWorkload(
            size: size, archive: try FileArchive(size: min(200_000_000, size / 3), in: folder))
        var problems: [String] = []
        for kind in images?.names ?? [.raw, .qcow2] {
            progress.show("\(kind.rawValue): making the image")
            let own = try folder.makeFolder(kind.rawValue)
            defer { try? FileManager.default.removeItem(atPath: own) }
            let comparison = WriteComparison(
                image: try DiskImage(kind, of: disk, in: own), disk: disk, workload: workload,
                measures: measures.names, folder: folder,
                programs: WritePrograms(rblockfs: Tool.rblockfs, rblock: Tool.rblock), progress: progress)
            let rows = try comparison.run(
                servers.names.filter { $0.serves(kind) }, rounds: options.rounds ?? (quick ? 3 : 5))
            progress.show("")
            try report(rows, kind)
            problems += rows.compactMap(failure)
        }
        withExtendedLifetime(folder) {}
        try RBlockBench.end(with: problems)
    }

    /// Why the run has failed, where the row tells that.
    private func failure(_ row: PeerRow) -> String? {
        guard let problem = row.problem else { return nil }
        let isOurs = row.server == WriteServerKind.rblockfs.rawValue || row.server == WriteServerKind.rblock.rawValue
        return isOurs ? "\(row.image): \(row.measure): \(row.server): \(problem)" : nil
    }

    private func report(_ rows: [PeerRow], _ kind: ImageKind) throws {
        switch options.output {
        case .human:
            let peers = [("qemu-storage-daemon", "qsd"), ("qemu-nbd", "qemu-nbd"), ("nbdkit", "nbdkit")]
            print(
                PeerTable(title: "over a \(kind.title)", rows: rows, peers: peers) {
                    WriteMeasure(rawValue: $0)?.title ?? $0
                }.text)
        case .json: for row in rows { print(try row.line()) }
        }
        fflush(nil)
    }
}
