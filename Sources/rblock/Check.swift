import ArgumentParser
import BlockImage
import ImageTools

/// `rblock check`: whether the structures of an image fit together.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the structures of an image: refcounts, tables, grains.",
        discussion: """
            Counts what uses each part of the file, and compares that with what the image says: refcounts, flags, tables, \
            snapshots, bitmaps of QCOW2; grain directories, grains, markers, CIDs of VMDK. Each finding is a line: what it \
            means (corruption, leak, error, warning), where it is, what it is and what it must be. Of more than \
            \(CheckResult.findingLimit) findings the first are shown, and all are counted. Only the image's own file is \
            checked, not those under it. Nothing is written: there is no repair.

            EXAMPLES
              rblock check disk.qcow2
              rblock check --output json disk.qcow2
              rblock check --data disk.vmdk

            EXIT STATUS (of several images that of the worst, in the order 1, 2, 3, 63)
              0   nothing is wrong
              1   the image cannot be opened, or not everything could be checked
              2   the image is damaged
              3   host space is wasted (leaks), and nothing else is wrong
              63  the format, as raw, has nothing to check; with --data it is read
              64  wrong usage
            """)

    @OptionGroup var options: ImageOptions
    @Option(help: "human, or json: the keys of qemu-img check, and the findings.") var output = OutputForm.human
    @Flag(
        name: [.customShort("U"), .customLong("force-share")],
        help: "Check an image that another program is writing to, though the result may be wrong.")
    var forceShare = false
    @Flag(help: "Also read all data of the disk that the image stores, and inflate what is compressed.")
    var data = false
    @Argument(help: ArgumentHelp("The images.", valueName: "IMAGE")) var images: [String]

    func run() throws {
        var statuses: Set<Int32> = []
        for path in images { statuses.insert(try check(path)) }
        let status = ([1, 2, 3, 63] as [Int32]).first { statuses.contains($0) } ?? 0
        if status != 0 { throw ExitCode(status) }
    }

    /// Checks one image, and answers its exit status.
    private func check(_ path: String) throws -> Int32 {
        let bar = ProgressLine("checking \(path)")
        defer { bar.end() }
        do {
            let report = try options.image(path).check(readsData: data, force: forceShare) { bar.show($0) }
            bar.end()
            guard let report else {
                Failure.say("\(path): the format has nothing to check; --data reads it")
                return 63
            }
            switch output {
            case .human: show(report)
            case .json: try writeJSON(report)
            }
            return report.verdict.rawValue
        } catch let error as ImageError {
            bar.end()
            Failure.say(error.description)
            return 1
        }
    }

    private func show(_ report: CheckReport) {
        let result = report.result
        if images.count > 1 { print("\(report.filename):") }
        for finding in result.findings {
            let times = finding.times > 1 ? " (\(finding.times) times)" : ""
            print("\(finding.severity.rawValue): \(finding.message)\(times)")
        }
        let more = result.findingCount - UInt64(result.findings.count)
        if more > 0 { print("and \(more) more \(more == 1 ? "finding" : "findings")") }
        switch report.verdict {
        case .clean: print("Nothing is wrong.")
        case .incomplete, .corrupt, .leaks:
            print(
                "corruptions: \(result.corruptions), leaked clusters: \(result.leaks), not checked: \(result.checkErrors)"
            )
        }
        guard let total = result.totalClusters else { return }
        print(
            "clusters: \(total), allocated: \(result.allocatedClusters), fragmented: \(result.fragmentedClusters), "
                + "compressed: \(result.compressedClusters)")
        if let end = result.imageEndOffset { print("image end offset: \(end)") }
    }
}
