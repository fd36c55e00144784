import ArgumentParser
import Foundation
import HostTools

/// Measures `rblock convert` beside `qemu-img convert`, in one run.
struct ConvertBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Convert a disk with rblock and with qemu-img, in alternation, and compare.",
        discussion: """
            Makes a disk with a partition that is half full of files of /usr, and has each program convert it in turn, \
            several rounds; what is read is in the page cache. Prints the median of the seconds, their spread, the size of \
            what was written, and how many times as fast as qemu-img rblock is: the median of the rounds' ratios. qemu-img \
            has the options that make it fastest (-W -m 16). By default it does not wait until the image is on the disk: \
            rblock --no-sync is compared with that, and rblock with qemu-img -t writeback, which does wait. Every result \
            is compared with the disk by qemu-img.

            EXAMPLES
              rblock-bench convert
              rblock-bench convert --quick
              rblock-bench convert --conversions zlib,zstd --rounds 9 --output json

            EXIT STATUS
              0   everything was measured; whether targets are reached does not matter
              1   a program failed, or wrote something else than the disk
              64  wrong usage
            """)

    @OptionGroup var options: BenchOptions

    @Flag(help: "A small disk and few rounds: less than two minutes.")
    var quick = false

    @Option(help: "Only these conversions: \(NameList<Conversion>.all).")
    var conversions = NameList<Conversion>()

    @Option(help: "Only these programs: \(NameList<Converter>.all).")
    var converters = NameList<Converter>()

    @Option(help: ArgumentHelp("The rblock to measure; by default the one beside this program.", valueName: "path"))
    var rblock: String?

    func run() throws {
        try Ending.endingCleanly(compareAll)
    }

    private func compareAll() throws {
        let folder = try options.makeFolder()
        let progress = Progress()
        let size = options.size(quick ? 256 << 20 : 4 << 30)
        progress.show("making a disk of \(size >> 20) MiB")
        let disk = try GuestDisk(size: size, fullness: 0.5, in: folder)
        var problems: [String] = []
        for conversion in conversions.names {
            var source = disk.path
            if conversion.source == "qcow2" {
                source = folder.file("disk.qcow2")
                try Tool.check("qemu-img", "convert", "-q", "-O", "qcow2", disk.path, source, timeout: 1800)
            }
            let comparison = ConversionComparison(
                conversion: conversion, source: source, disk: disk, folder: folder, rblock: rblock ?? Tool.rblock,
                progress: progress)
            let rows = try comparison.run(converters.names, rounds: options.rounds ?? (quick ? 3 : 5))
            progress.show("")
            try report(rows, conversion)
            problems += rows.compactMap { row in
                row.problem.map { "\(conversion.rawValue): \(row.converter): \($0)" }
            }
        }
        withExtendedLifetime(folder) {}
        try RBlockBench.end(with: problems)
    }

    private func report(_ rows: [ConversionRow], _ conversion: Conversion) throws {
        switch options.output {
        case .human: print(ConversionRow.table(rows, titled: conversion.title))
        case .json: for row in rows { print(try row.line()) }
        }
        fflush(nil)
    }
}
