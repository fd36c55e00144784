import ArgumentParser
import Attachment
import BlockImage
import Reports

/// `rblock attached`: what is attached.
struct Attached: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List the disks that are attached and mounted.",
        discussion: """
            Lists what 'rblock attach' and 'rblock mount' have made: its name, device, size, where its bytes come from (file: \
            the image's own file; rblockfs: a server), where it is mounted, and the image. Partitions stand below their disk.

            What is listed is there: each is compared with the kernel first. What a process or a server that was killed has \
            left is removed, and that is said; where such a device is in use still, it is listed as gone until 'rblock detach' \
            finds it free.

            EXAMPLES
              rblock attached
              # every device, for a script
              rblock attached --output json | jq -r '.[].device'

            EXIT STATUS
              0   done, also where nothing is attached
              1   it cannot be known, or not of one of them: that one is left as it is
              64  wrong usage
              77  only root can look

            SEE ALSO
              rblock(1), rblock-attach(1), rblock-detach(1), rblock-mount(1), rblock-json(5),
              losetup(8), lsblk(8)
            """)

    @Option(help: ArgumentHelp("human: a table; or json: an array of objects.", valueName: "form"))
    var output = OutputForm.human

    func run() throws {
        var listing = AttachmentDocuments()
        try Failure.reported(as: output) {
            let (records, faults) = try AttachmentFolder.forRoot("can see what is attached").list()
            for record in records { listing.add(AttachmentReport(record, Self.state(of: record))) }
            for fault in faults { listing.add(fault.error, about: fault.name) }
            switch output {
            case .human: try printTable(records)
            case .json: try writeJSON(listing.documents)
            }
        }
        try listing.finish()
    }

    static func state(of record: AttachmentRecord) -> AttachmentReport.State {
        if record.isDead { return .serverGone }
        if record.isBusy { return .busy }
        return record.mounted == nil ? .attached : .mounted
    }

    private func printTable(_ records: [AttachmentRecord]) throws(ImageError) {
        guard !records.isEmpty else { return }
        var rows = [["NAME", "DEVICE", "SIZE", "FROM", "MOUNTED AT", "IMAGE"]]
        for record in records {
            let from =
                switch Self.state(of: record) {
                case .serverGone: "(gone)"
                case .busy: "(busy)"
                case .attached, .mounted, .detached: record.source.rawValue
                }
            func mountpoint(_ device: String?) -> String {
                record.mounted.flatMap { $0.device == device ? printable($0.mountpoint) : nil } ?? "-"
            }
            rows.append([
                record.name, record.device ?? "-", humanSize(record.size), from, mountpoint(record.device),
                printable(record.image),
            ])
            rows += record.partitions.map {
                ["", $0.device, humanSize($0.size), "", mountpoint($0.device), "partition \($0.number)"]
            }
        }
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        let text = StandardOutput()
        for row in rows {
            let cells = zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
            try text.write(cells.dropLast().joined(separator: "  ") + "  " + row[row.count - 1] + "\n")
        }
        try text.flush()
    }
}
