import ArgumentParser
import BlockImage
import Catalog
import GuestFiles

/// `rblock du`: what the directories of a guest take.
struct DiskUsage: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "du",
        abstract: "Show how much of its disk the directories of a guest take.",
        usage: "rblock du [<options>] <IMAGE:/PATH> ...",
        discussion: """
            Sums up what the files in each directory, and below it, take on the disk of the guest, as du(1) does of one that is mounted: \
            holes take nothing, and a file with several names counts once. \(GuestText.names)

            \(GuestText.systems)

            EXAMPLES
              # the ten largest
              rblock du disk.qcow2:/var | sort -n | tail
              rblock du -sh disk.qcow2:/home
              rblock du --output json vm.vmdk:/ | jq '.[] | select(.size > 1e9)'

            EXIT STATUS
              0   all was counted
              1   the image or a file cannot be read; the others are counted all the
                  same
              64  wrong usage

            SEE ALSO
              du(1), rblock(1), rblock-df(1), rblock-ls(1), rblock-json(5), rblock-names(7)
            """)

    /// One directory.
    private struct Report: Encodable {
        var path: PathText
        /// Bytes of content, and bytes on the disk.
        var size: UInt64 = 0
        var actualSize: UInt64 = 0
        var files: UInt64 = 0

        private enum CodingKeys: String, CodingKey {
            case path, size, files
            case actualSize = "actual-size"
        }

        mutating func add(_ other: Report) {
            size = size.addingSaturated(other.size)
            actualSize = actualSize.addingSaturated(other.actualSize)
            files += other.files
        }
    }

    @OptionGroup var guest: GuestOptions
    @Flag(name: .shortAndLong, help: "Only the directories that are named, and none in them.") var summarize = false
    @Flag(name: .customShort("h"), help: "Sizes for people; by default units of 1,024 bytes, as du(1) has them.")
    var human = false
    @Flag(help: "The bytes of content, in place of those that they take on the disk.") var apparentSize = false
    @Option(
        help: ArgumentHelp(
            "human; or json: an array of objects with path, size, actual-size (both in bytes) and files.",
            valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The directories.", valueName: "IMAGE:/PATH"), completion: .file()) var files: [String]

    func run() throws {
        let printer = StandardOutput()
        var list = JSONListOutput(to: printer)
        let isDone = try guest.forEach(files, as: output) { opened, onError in
            let tree = opened.tree
            let start = try tree.node(opened.place.path, followsLast: false)
            var seen: Set<[UInt64]> = []
            // Those of the directories under way, the topmost first.
            var sums: [Report] = []
            func end() throws {
                guard let sum = sums.popLast() else { return }
                if sums.isEmpty || !summarize { try show(sum, printer, &list) }
                if !sums.isEmpty { sums[sums.count - 1].add(sum) }
            }
            let walk = GuestWalk(tree: tree, onError: onError) { _ in try end() }
            try walk.run(start) { node, status in
                let isFolder = status.kind == .directory
                var report = Report(path: PathText(node.text))
                if isFolder || status.linkCount < 2 || seen.insert(tree.identity(of: node)).inserted {
                    (report.size, report.actualSize, report.files) = (status.size, status.allocatedSize, 1)
                }
                if isFolder || sums.isEmpty { sums.append(report) } else { sums[sums.count - 1].add(report) }
                return true
            }
            // A file that was named.
            while !sums.isEmpty { try end() }
            try printer.flush()
        }
        try Failure.reported {
            if output == .json { try list.end() }
            try printer.flush()
        }
        if !isDone { throw ExitCode(1) }
    }

    private func show(_ sum: Report, _ printer: StandardOutput, _ list: inout JSONListOutput) throws {
        guard output == .human else { return try list.append(sum) }
        let size = apparentSize ? sum.size : sum.actualSize
        let kibibytes = size / 1024 + (size % 1024 == 0 ? 0 : 1)
        try printer.write("\(human ? humanSize(size) : "\(kibibytes)")\t\(printable(sum.path.text))\n")
    }
}
