import ArgumentParser
import BlockImage
import ImageTools
import Reports

/// `rblock check`: whether the structures of an image fit together.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the structures of an image: refcounts, tables, grains.",
        usage: "rblock check [<options>] <IMAGE> ...",
        discussion: """
            Counts what uses each part of the file, and compares that with what the image says: refcounts, flags, tables, \
            snapshots, bitmaps of QCOW2; grain directories, grains, markers, CIDs of VMDK. Each finding is a line: what it \
            means (corruption, leak, error, warning), where it is, what it is and what it must be. Of more than \
            \(CheckResult.tableLimit) findings of one kind in one table, and of more than \(CheckResult.findingLimit) of one \
            kind in all, the first are shown, and all are counted. Only the image's own file is checked, not those under \
            it. Of an OVA, all files are compared with the digests of the manifest, and all disks are checked. A file that its \
            descriptor names and the archive lacks is a corruption; one that lies elsewhere, as at a URL, could not be checked. \
            Nothing is written: there is no repair.

            EXAMPLES
              rblock check disk.qcow2
              # every file of an appliance against its manifest, and every disk in it
              rblock check shop.ova
              # the data as well: what is compressed is inflated
              rblock check --data disk.vmdk
              rblock check --output json disk.qcow2 | jq .findings

            EXIT STATUS
              0   nothing is wrong
              1   the image cannot be opened, or not everything could be checked
              2   the image is damaged
              3   host space is wasted (leaks), and nothing else is wrong
              63  the format, as raw, has nothing to check; with --data it is read
              64  wrong usage

            Several images come to the first of 1, 2, 3 and 63 that one of them comes to.

            SEE ALSO
              qemu-img(1), rblock(1), rblock-inspect(1), rblock-json(5), rblock-formats(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var sharing: SharingOption
    @OptionGroup var progress: ProgressOption
    @OptionGroup var under: BackingOption
    @OptionGroup var colors: ColorOption
    @Option(
        help: ArgumentHelp(
            "human, or json: the keys of qemu-img check, and the findings; of several images an array.",
            valueName: "form"))
    var output = OutputForm.human
    @Flag(help: "Also read all data of the disk that the image stores, and inflate what is compressed.")
    var data = false
    @Argument(help: ArgumentHelp("The images.", valueName: "IMAGE"), completion: .file()) var images: [String]

    func validate() throws {
        try under.check(images)
    }

    func run() throws {
        progress.begin(output)
        var statuses: Set<Int32> = []
        try Failure.reported {
            let printer = StandardOutput()
            var count = 0
            if isArray { try printer.write("[") }
            for path in images {
                let (report, status) = check(path)
                statuses.insert(status)
                switch output {
                case .human:
                    if case .success(let report) = report { try show(report, printer) }
                case .json:
                    if isArray { try printer.write(count == 0 ? "\n" : ",\n") }
                    switch report {
                    case .success(let report): try printer.write(try jsonText(report))
                    case .failure(let failure): try printer.write(try jsonText(failure.report))
                    }
                    if !isArray { try printer.write("\n") }
                }
                count += 1
                // What is said of an image stands before what is wrong with the next.
                try printer.flush()
            }
            if isArray { try printer.write("\n]\n") }
            try printer.flush()
        }
        let status = ([1, 2, 3, 63] as [Int32]).first { statuses.contains($0) } ?? 0
        if status != 0 { throw ExitCode(status) }
    }

    private var isArray: Bool { output == .json && images.count > 1 }

    /// Why there is no report of an image.
    private struct NoReport: Error {
        var report: FailureReport
    }

    /// Checks one image, and answers its exit status; without a report, why there is none was said.
    private func check(_ path: String) -> (Result<CheckReport, NoReport>, Int32) {
        let bar = ProgressBar("checking \(path)")
        do throws(ImageError) {
            var image = try options.image(path)
            under.apply(to: &image)
            let report = try image.checkReport(readsData: data, force: sharing.forceShare) { bar.update(part: $0) }
            bar.hide()
            if let report { return (.success(report), report.verdict.rawValue) }
            let message = "\(path): the format has nothing to check; --data reads it"
            Failure.say(message)
            return (.failure(NoReport(report: FailureReport(filename: path, .words(message, code: "unsupported")))), 63)
        } catch {
            bar.hide()
            Failure.say(error.description)
            return (.failure(NoReport(report: FailureReport(filename: path, .image(error)))), 1)
        }
    }

    private func show(_ report: CheckReport, _ printer: StandardOutput) throws(ImageError) {
        let result = report.result
        let style = colors.style
        if images.count > 1 { try printer.write(lines: "\(style.heading(printable(report.filename))):\n") }
        for finding in result.findings {
            let times = finding.times > 1 ? " (\(finding.times) times)" : ""
            let severity = finding.severity.rawValue
            let shown = [.leak, .warning].contains(finding.severity) ? style.warning(severity) : style.fault(severity)
            try printer.write(lines: "\(shown): \(printable(finding.message.description))\(times)\n")
            if finding.more > 0 {
                let end = finding.lastOffset.map { ", up to \($0)" } ?? ""
                try printer.write(lines: "    and \(finding.more) more of this kind in the same table\(end)\n")
            }
        }
        for (kind, more) in result.omitted.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            try printer.write(lines: "and \(counted(more, "more finding")) of the kind \(kind.rawValue)\n")
        }
        switch report.verdict {
        case .clean: try printer.write(lines: "\(style.good("Nothing is wrong."))\n")
        case .incomplete, .corrupt, .leaks:
            try printer.write(
                lines: "corruptions: \(result.corruptions), leaked clusters: \(result.leaks), not checked: "
                    + "\(result.checkErrors)\n")
        }
        guard let total = result.totalClusters else { return }
        try printer.write(
            lines:
                "clusters: \(total), allocated: \(result.allocatedClusters), fragmented: \(result.fragmentedClusters), "
                + "compressed: \(result.compressedClusters)\n")
        if let end = result.imageEndOffset { try printer.write(lines: "image end offset: \(end)\n") }
    }
}
