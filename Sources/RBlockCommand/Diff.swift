import ArgumentParser
import BlockImage
import Catalog
import HostStorage
import ImageFormats
import ImageTools
import Reports
import SystemPackage

/// `rblock diff`: where two disks differ.
struct Diff: ParsableCommand {
    /// The exit status of whatever goes wrong.
    private static let trouble: Int32 = 2

    static let configuration = CommandConfiguration(
        abstract: "Tell which sectors differ between two disks.",
        discussion: """
            A and B are images in any format, raw files, or block devices. What both disks have zeros in, and what comes \
            from the same place of the same file, as clusters that two snapshots or two overlays share, is not read. \
            Where one disk is longer than the other, the rest is compared with zeros, and standard error says so.

            Every range of sectors that differ is a line: the first and the last sector, and how many they are. The \
            last line sums up; the bytes are those of the sectors that differ.

            EXAMPLES
              rblock diff before.qcow2 after.qcow2
              # is the backup the same as the volume?
              rblock diff --summary /dev/vg/root backup.vmdk
              # what changed between two snapshots of one image
              rblock diff --snapshot-a monday --snapshot-b tuesday disk.qcow2 disk.qcow2
              # how many blocks of 4096 bytes differ
              rblock diff --sectors --sector-size 4096 a.raw b.raw | wc -l
              # a page to look at
              rblock diff --summary --html diff.html a.qcow2 b.qcow2; xdg-open diff.html

            EXIT STATUS
              0   the disks are the same
              1   they differ
              2   an image cannot be opened or read; what differs before is printed.
                  Or, with --ignore-read-errors, parts could not be read
              64  wrong usage

            SEE ALSO
              cmp(1), qemu-img(1), rblock(1), rblock-delta(1), rblock-hash(1),
              rblock-json(5), rblock-names(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var reading: ReadingOptions
    @Option(help: ArgumentHelp("The format of A, if not that of --format.", valueName: "format"))
    var formatA: ImageFormat?
    @Option(help: ArgumentHelp("The format of B, if not that of --format.", valueName: "format"))
    var formatB: ImageFormat?
    @Option(
        help: ArgumentHelp(
            "Compare the disk of this internal snapshot of A (its name, or else its ID).", valueName: "name"),
        completion: .snapshots { (verb: Diff) in verb.options.bare(verb.first, format: verb.formatA) })
    var snapshotA: String?
    @Option(
        help: ArgumentHelp(
            "Compare the disk of this internal snapshot of B (its name, or else its ID).", valueName: "name"),
        completion: .snapshots { (verb: Diff) in verb.options.bare(verb.second, format: verb.formatB) })
    var snapshotB: String?
    @Option(
        help: ArgumentHelp("The file that lies under A, in place of the one that it names.", valueName: "file"),
        completion: .file())
    var backingA: String?
    @Option(
        help: ArgumentHelp("The file that lies under B, in place of the one that it names.", valueName: "file"),
        completion: .file())
    var backingB: String?
    @Option(
        parsing: .unconditional, help: ArgumentHelp("The bytes of a sector: 512 or 4096.", valueName: "size"))
    var sectorSize = 512
    @Flag(help: "Print the number of every sector that differs, one a line, and nothing else.") var sectors = false
    @Flag(help: "Print the sum only.") var summary = false
    @Flag(help: "Go on where a disk cannot be read: zeros are compared in place of what is lost, which is reported.")
    var ignoreReadErrors = false
    @Option(
        help: ArgumentHelp(
            "Make a page of HTML to look at, too: a picture of both disks, in which one zooms, and a list of the ranges that differ. It needs no network.",
            valueName: "file"),
        completion: .file(extensions: ["html"]))
    var html: String?
    @Flag(help: "Let the page replace a file that is there; never one of the images'.") var force = false
    @OptionGroup var colors: ColorOption
    @Option(
        help: ArgumentHelp("human, or json: a, b, ranges (or sectors, with --sectors) and summary.", valueName: "form"))
    var output = OutputForm
        .human
    @Argument(help: ArgumentHelp("The one disk.", valueName: "A"), completion: .file()) var first: String
    @Argument(help: ArgumentHelp("The other disk.", valueName: "B"), completion: .file()) var second: String

    func validate() throws {
        guard [512, 4096].contains(sectorSize) else {
            throw ValidationError("--sector-size is \(sectorSize), and must be 512 or 4096")
        }
        if sectors && summary { throw ValidationError("--sectors and --summary: choose one") }
    }

    func run() throws {
        reading.progress.begin(output)
        var differs = false
        try Failure.reported(as: output, status: Self.trouble) { differs = try compare() }
        if differs { throw ExitCode(1) }
    }

    /// Compares both, prints what there is to print, and answers whether they differ.
    private func compare() throws -> Bool {
        var (a, b) = (try options.image(first), try options.image(second))
        (a.format, b.format) = (formatA ?? a.format, formatB ?? b.format)
        try a.choose(snapshot: snapshotA)
        try b.choose(snapshot: snapshotB)
        (a.backing, b.backing) = (backingA.map { FilePath(text: $0) }, backingB.map { FilePath(text: $0) })
        (a.options.backingOption, b.options.backingOption) = ("--backing-a", "--backing-b")
        // Two snapshots of one encrypted image are unlocked once.
        b.options.keys = a.options.keys
        let place = try html.map { path in
            try PictureFile(at: FilePath(text: path), of: [a, b], as: "page", replaces: force)
        }
        return try PictureFile.saying(ifMissing: [place]) { try compare(a, b, page: place) }
    }

    private func compare(_ a: NamedImage, _ b: NamedImage, page place: PictureFile?) throws -> Bool {
        func name(_ path: String, _ snapshot: String?) -> String { path + (snapshot.map { "@\($0)" } ?? "") }
        var page = place.map { _ in DiffPage(name(first, snapshotA), name(second, snapshotB)) }
        let resources = LayerResources()
        let disks = (try reading.disk(a, resources: resources), try reading.disk(b, resources: resources))
        var comparison = DiskComparison(disks.0.image, disks.1.image, sectorSize: sectorSize)
        comparison.ignoresReadErrors = ignoreReadErrors
        let bar = ProgressBar("diff", total: comparison.size)
        let output = StandardOutput(besides: bar)
        let printer: any DiffPrinter =
            switch self.output {
            case .human: DiffText(output, form: form, colors.style)
            case .json:
                DiffDocument(
                    output, form: form, DiffReport.Disk(path: first, snapshot: snapshotA),
                    DiffReport.Disk(path: second, snapshot: snapshotB))
            }
        try printer.begin()
        do {
            let difference = try comparison.run(
                progress: { position in if bar.update(position) { try output.show() } },
                parts: place.map { _ in { page?.add($0) } },
                { range in try printer.print(range) })
            try reading.checkUnchanged(disks.0)
            try reading.checkUnchanged(disks.1)
            if let place, let page { try place.write(page.html(difference)) }
            try printer.end(difference)
            try output.flush()
            bar.hide()
            noteSizes(difference)
            var hasLost = false
            for (path, lost) in zip([first, second], difference.lost) where !lost.isEmpty {
                hasLost = true
                sayLost(lost.ranges, of: path, "could not be read, and were compared as zeros")
            }
            if hasLost { throw ExitCode(Self.trouble) }
            return difference.sectors > 0
        } catch let error as ImageError {
            // What was found up to there is no less true.
            try printer.end(error)
            try output.flush()
            throw error
        }
    }

    private var form: DiffForm { sectors ? .sectors : summary ? .summary : .ranges }

    /// Says that the disks have different sizes, if they do.
    private func noteSizes(_ difference: DiskDifference) {
        let (a, b) = (difference.sizes[0], difference.sizes[1])
        guard a != b else { return }
        Failure.say(
            "the sizes differ: \(first) has \(counted(a, "byte")), \(second) has \(b); the last "
                + "\(counted(max(a, b) - min(a, b), "byte")) of \(a > b ? first : second) compared with zeros")
    }
}

/// How much is printed of a comparison.
private enum DiffForm {
    case ranges, sectors, summary
}

/// Prints what a comparison finds while it is found.
private protocol DiffPrinter {
    func begin() throws
    func print(_ range: SectorRange) throws
    func end(_ difference: DiskDifference) throws
    func end(_ error: ImageError) throws
}

/// For people, and for scripts that read lines.
private struct DiffText: DiffPrinter {
    private let output: StandardOutput
    private let form: DiffForm
    private let style: TextStyle

    init(_ output: StandardOutput, form: DiffForm, _ style: TextStyle) {
        self.output = output
        self.form = form
        self.style = style
    }

    func begin() {}

    func print(_ range: SectorRange) throws {
        switch form {
        case .summary: break
        case .ranges: try output.write("\(range.start)-\(range.start + (range.count - 1))  \(range.count)\n")
        case .sectors:
            for sector in range.start..<range.start + range.count { try output.write("\(sector)\n") }
        }
    }

    func end(_ difference: DiskDifference) throws {
        guard form != .sectors else { return }
        guard difference.sectors > 0 else {
            let isWhole = difference.lost.allSatisfy(\.isEmpty)
            let words = isWhole ? "the disks are the same" : "what can be read of the disks is the same"
            return try output.write(lines: "\(isWhole ? style.good(words) : style.warning(words))\n")
        }
        let words =
            "\(counted(difference.sectors, "sector")) of \(difference.sectorSize) bytes changed, "
            + "\(counted(difference.bytes, "byte")) in \(counted(difference.ranges, "range"))"
        try output.write(lines: "\(style.heading(words))\n")
    }

    func end(_ error: ImageError) {}
}

/// A JSON document. Its array is written element by element: there may be any number of them.
private final class DiffDocument: DiffPrinter {
    private let output: StandardOutput
    private let form: DiffForm
    private let disks: (a: DiffReport.Disk, b: DiffReport.Disk)
    private var separator = ""

    init(_ output: StandardOutput, form: DiffForm, _ a: DiffReport.Disk, _ b: DiffReport.Disk) {
        self.output = output
        self.form = form
        disks = (a, b)
    }

    func begin() throws {
        switch form {
        case .summary: break
        case .ranges: try output.write("{\n  \"ranges\" : [")
        case .sectors: try output.write("{\n  \"sectors\" : [")
        }
    }

    func print(_ range: SectorRange) throws {
        switch form {
        case .summary: break
        case .ranges: try add("{ \"start\" : \(range.start), \"count\" : \(range.count) }")
        case .sectors:
            for sector in range.start..<range.start + range.count { try add("\(sector)") }
        }
    }

    private func add(_ element: String) throws {
        try output.write("\(separator)\n    \(element)")
        separator = ","
    }

    func end(_ difference: DiskDifference) throws { try finish(DiffReport(disks.a, disks.b, difference)) }

    func end(_ error: ImageError) throws { try finish(DiffReport(disks.a, disks.b, error)) }

    private func finish(_ report: DiffReport) throws {
        let text = try jsonText(report)
        // The object goes on where the array ends.
        try output.write(form == .summary ? text : "\n  ],\(text.dropFirst())")
        try output.write("\n")
    }
}
