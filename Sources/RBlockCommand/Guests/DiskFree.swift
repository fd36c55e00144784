import ArgumentParser
import BlockImage
import Reports

/// `rblock df`: the file systems of an image.
struct DiskFree: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "df",
        abstract: "Show the file systems of an image, and how full they are.",
        usage: "rblock df [<options>] <IMAGE>",
        discussion: """
            Lists the partitions and volumes of IMAGE, or its disk where it has none, with the file system of each: its label, size, what is \
            used and free, as df(1) shows it of a mounted one. Nothing is written, and a journal is replayed in memory.

            \(GuestText.systems)

            EXAMPLES
              rblock df disk.qcow2
              rblock df --output json vm.ova/disk1.vmdk | jq '.[].available'

            EXIT STATUS
              0   all was shown
              1   the image cannot be read, or one of its file systems is damaged; the
                  others are shown all the same
              64  wrong usage

            SEE ALSO
              blkid(8), df(1), rblock(1), rblock-info(1), rblock-ls(1), rblock-json(5),
              rblock-names(7)
            """)

    @OptionGroup var guest: GuestOptions
    @Option(help: ArgumentHelp("human; or json: an array of objects.", valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file()) var image: String

    func run() throws {
        var failed = false
        try Failure.reported(as: output, filename: image) {
            let volumes = try guest.volumes(image).volumes
            let rows = volumes.map { GuestVolumeReport($0) }
            for row in rows {
                for note in row.notes ?? [] {
                    Failure.warn("\(image)\(row.name.isEmpty ? "" : ": \(row.name)"): \(note)")
                }
                guard let error = row.error else { continue }
                if output == .human { Failure.say(error.description) }
                failed = true
            }
            switch output {
            case .json: try writeJSON(rows)
            case .human: try show(rows)
            }
        }
        if failed { throw ExitCode(1) }
    }

    private func show(_ rows: [GuestVolumeReport]) throws {
        var table = [["disk", "type", "size", "used", "available", "label"]]
        for row in rows {
            table.append([
                row.name.isEmpty ? "-" : printable(row.name), row.type ?? "-", humanSize(row.size),
                row.used.map(humanSize) ?? "-", row.available.map(humanSize) ?? "-",
                row.label.map { printable($0) } ?? "",
            ])
        }
        let widths = table[0].indices.map { column in table.map { $0[column].count }.max() ?? 0 }
        let printer = StandardOutput()
        for row in table {
            var line = ""
            for (index, cell) in row.enumerated() {
                let space = String(repeating: " ", count: widths[index] - cell.count)
                line += (index == 0 ? "" : "  ") + ((2...4).contains(index) ? space + cell : cell + space)
            }
            while line.last == " " { line.removeLast() }
            try printer.write(line + "\n")
        }
        try printer.flush()
    }
}
