import ArgumentParser
import BlockImage
import Catalog
import Encryption
import GuestFiles

/// `rblock cat`: the content of files of a guest.
struct Cat: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write files of a guest to standard output.",
        usage: "rblock cat [<options>] <IMAGE:/PATH> ...",
        discussion: """
            The bytes of each file, one after the other, as cat(1) writes them. Links are followed inside of the guest. \(GuestText.names)

            \(GuestText.systems)

            EXAMPLES
              rblock cat disk.qcow2:/etc/os-release
              rblock cat vm.ova/disk1.vmdk:/var/log/syslog | less
              rblock cat disk.qcow2:1:/EFI/debian/grub.cfg

            EXIT STATUS
              0   all was written
              1   a file cannot be read, or is not there; the others are written all
                  the same
              64  wrong usage

            SEE ALSO
              cat(1), rblock(1), rblock-ls(1), rblock-tar(1), rblock-names(7)
            """)

    /// The most bytes that are read at once.
    private static let pieceSize = 1 << 20
    /// The most of a file that --output json takes: it is all held in memory, some times over.
    private static let jsonLimit: UInt64 = 4 << 20

    /// A file in a document.
    private struct Report: Encodable {
        var path: PathText
        var size: UInt64
        /// In Base64.
        var data: String
    }

    @OptionGroup var guest: GuestOptions
    @Flag(help: "Write bytes to a terminal that are no text, too.") var force = false
    @Option(
        help: ArgumentHelp(
            "human: the bytes; or json: an array of objects with path, size and data, in Base64, of at most 4M each.",
            valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The files.", valueName: "IMAGE:/PATH"), completion: .file()) var files: [String]

    func run() throws {
        let printer = StandardOutput()
        var reports = JSONListOutput(to: printer)
        let isDone = try guest.forEach(files, as: output) { opened, _ in
            let node = try opened.tree.node(opened.place.path)
            guard try opened.tree.status(of: node).kind == .regular else {
                throw Failure("\(opened.text): is no regular file")
            }
            let content = try opened.tree.open(node)
            switch output {
            case .human: try write(content, of: opened.text, to: printer)
            case .json:
                guard content.size <= Self.jsonLimit else {
                    throw Failure(
                        "\(opened.text): \(content.size) bytes are too many for --output json, which takes \(Self.jsonLimit)"
                    )
                }
                let data = try content.bytes()
                try reports.append(
                    Report(path: PathText(node.text), size: content.size, data: Base64.text(data)))
            }
        }
        try Failure.reported {
            if output == .json { try reports.end() }
            try printer.flush()
        }
        if !isDone { throw ExitCode(1) }
    }

    private func write(_ content: any GuestFileContent, of name: String, to printer: StandardOutput) throws {
        let bar = ProgressBar(name, total: content.size)
        let buffer = AlignedBuffer(capacity: Self.pieceSize)
        var position: UInt64 = 0
        while position < content.size {
            let count = Int(min(UInt64(Self.pieceSize), content.size - position))
            try buffer.fill(count) { output throws(ImageError) in
                try content.read(count, at: position, into: &output)
            }
            if position == 0, !force, buffer.array.prefix(4096).contains(0) {
                try StandardOutput.refuseTerminal("the file is no text")
            }
            try printer.write(buffer.bytes)
            position += UInt64(count)
            bar.update(position)
        }
    }
}
