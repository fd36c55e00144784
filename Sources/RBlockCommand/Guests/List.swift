import ArgumentParser
import BlockImage
import Catalog
import GuestFiles
import Reports

/// `rblock ls`: the files of a guest.
struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "List files of a guest.",
        usage: "rblock ls [<options>] <IMAGE:/PATH> ...",
        discussion: """
            Lists a directory, or names a file, of the guest on an image, without a mount and without root; nothing is written, and a \
            journal is replayed in memory. \(GuestText.names)

            \(GuestText.systems)

            EXAMPLES
              rblock ls disk.qcow2:/etc
              rblock ls -l vm.vmdk:2:/boot
              rblock ls -lR --output json disk.qcow2@daily:/home | jq .
              # what file systems are there?
              rblock df disk.qcow2

            EXIT STATUS
              0   all was listed
              1   the image or a file cannot be read, or is not there; the others are
                  listed all the same
              64  wrong usage

            SEE ALSO
              ls(1), rblock(1), rblock-cat(1), rblock-df(1), rblock-find(1),
              rblock-tar(1), rblock-json(5), rblock-names(7)
            """)

    @OptionGroup var guest: GuestOptions
    @Flag(name: .customShort("l"), help: "With mode, links, owner, group, size and time (UTC).") var long = false
    @Flag(name: .customShort("a"), help: "With names that begin with a dot.") var all = false
    @Flag(name: .customShort("R"), help: "With the directories below.") var recursive = false
    @Flag(name: .customShort("h"), help: "Sizes for people.") var human = false
    @Flag(name: .customShort("d"), help: "Directories themselves, and not what is in them.") var directory = false
    @Option(help: ArgumentHelp("human; or json: an array of objects.", valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The files.", valueName: "IMAGE:/PATH"), completion: .file()) var files: [String]

    /// As many rows are aligned with each other at a time: directories may have a million.
    private static let rowLimit = 1000

    func run() throws {
        let printer = StandardOutput()
        var reports = JSONListOutput(to: printer)
        var isFirst = true
        let isDone = try guest.forEach(files, as: output) { opened, onError in
            if files.count > 1 || recursive, output == .human, !directory {
                try printer.write("\(isFirst ? "" : "\n")\(printable(opened.text)):\n")
            }
            isFirst = false
            try list(opened, printer, &reports, onError)
            try printer.flush()
        }
        try Failure.reported {
            if output == .json { try reports.end() }
            try printer.flush()
        }
        if !isDone { throw ExitCode(1) }
    }

    private func list(
        _ opened: GuestOptions.Opened, _ printer: StandardOutput, _ reports: inout JSONListOutput,
        _ onError: @escaping (ImageError) -> Void
    ) throws {
        let tree = opened.tree
        let start = try tree.node(opened.place.path, followsLast: !long || opened.place.path.last == UInt8(ascii: "/"))
        guard try tree.status(of: start).kind == .directory, !directory else {
            return try show([start], tree, printer, &reports, onError)
        }
        var folders = [start]
        var seen: Set<[UInt64]> = []
        while let folder = folders.popLast() {
            guard seen.insert(tree.identity(of: folder)).inserted else {
                onError(ImageError(.corrupt, path: folder.text, "is a directory that has another name, too"))
                continue
            }
            if folder != start, output == .human { try printer.write("\n\(printable(folder.text)):\n") }
            do {
                folders += try list(folder, tree, printer, &reports, onError).reversed()
            } catch let error as ImageError {
                onError(error)
            }
        }
    }

    /// Lists what is in `folder`. The result: the directories in it that are to be listed, too.
    private func list(
        _ folder: GuestTree.Node, _ tree: GuestTree, _ printer: StandardOutput, _ reports: inout JSONListOutput,
        _ onError: (ImageError) -> Void
    ) throws -> [GuestTree.Node] {
        var folders: [GuestTree.Node] = []
        var nodes: [GuestTree.Node] = []
        let listing = try tree.listing(of: folder)
        for index in 0..<listing.count where all || !listing.isHidden(index) {
            do throws(ImageError) {
                let node = try tree.child(index, in: listing, of: folder)
                nodes.append(node)
                if recursive, try tree.status(of: node).kind == .directory { folders.append(node) }
            } catch {
                onError(error)
            }
            guard nodes.count == Self.rowLimit else { continue }
            try show(nodes, tree, printer, &reports, onError)
            nodes.removeAll()
        }
        try show(nodes, tree, printer, &reports, onError)
        return folders
    }

    /// Prints `nodes`, or adds them to `reports`.
    private func show(
        _ nodes: [GuestTree.Node], _ tree: GuestTree, _ printer: StandardOutput, _ reports: inout JSONListOutput,
        _ onError: (ImageError) -> Void
    ) throws {
        var rows: [[String]] = []
        for node in nodes {
            let name = node.path.last.map { printable($0) } ?? "/"
            if output == .human, !long {
                try printer.write("\(name)\n")
                continue
            }
            do {
                let status = try tree.status(of: node)
                let report = try GuestReport(node, status, in: tree)
                if output == .json { try reports.append(report) } else { rows.append(row(name, status, report)) }
            } catch let error as ImageError {
                onError(error)
            }
        }
        let widths = (rows.first ?? []).indices.dropLast().map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            let cells = zip(row, widths).enumerated().map { index, cell in
                let space = String(repeating: " ", count: cell.1 - cell.0.count)
                return index == 0 ? cell.0 + space : space + cell.0
            }
            try printer.write((cells + [row[row.count - 1]]).joined(separator: " ") + "\n")
        }
    }

    private func row(_ name: String, _ status: GuestStatus, _ report: GuestReport) -> [String] {
        let numbers = report.device.map { $0.map(String.init).joined(separator: ",") }
        let size = numbers ?? (human ? humanSize(status.size) : "\(status.size)")
        let arrow = report.target.map { " -> \(printable($0.text))" } ?? ""
        return [
            status.modeText, "\(status.linkCount)", "\(status.userID)", "\(status.groupID)", size, status.timeText,
            name + arrow,
        ]
    }
}
