import ArgumentParser
import Arguments
import BlockImage
import Catalog
import GuestFiles
import Reports

/// `rblock find`: files of a guest by what they are like.
struct Find: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Find files of a guest by name, type, size and time.",
        usage: "rblock find [<options>] <IMAGE:/PATH> ...",
        discussion: """
            Names every file below a directory that is like all that is asked for, a line each, by its path in the guest. Links are named, \
            and not followed. \(GuestText.names)

            \(GuestText.systems)

            EXAMPLES
              rblock find --name '*.conf' disk.qcow2:/etc
              rblock find --type file --larger 100M disk.qcow2:/
              # what was changed in November, with all that is known of it
              rblock find --newer 2026-11-01 --output json vm.vmdk:/ | jq .

            EXIT STATUS
              0   all was looked at, also where nothing was found
              1   the image or a file cannot be read; the others are looked at all
                  the same
              64  wrong usage

            SEE ALSO
              find(1), rblock(1), rblock-ls(1), rblock-json(5), rblock-names(7)
            """)

    /// What a file can be asked to be.
    enum Kind: String, ExpressibleByArgument, CaseIterable {
        case file, directory, link, device, fifo, socket

        func matches(_ kind: GuestFileKind) -> Bool {
            switch (self, kind) {
            case (.file, .regular), (.directory, .directory), (.link, .link), (.fifo, .fifo), (.socket, .socket): true
            case (.device, .characterDevice), (.device, .blockDevice): true
            default: false
            }
        }
    }

    @OptionGroup var guest: GuestOptions
    @Option(
        help: ArgumentHelp(
            "Files whose names are like this: * stands for any characters, ? for one, [a-z] for one of these.",
            valueName: "pattern"))
    var name: String?
    @Option(help: "Files of this type.") var type: Kind?
    @Option(
        help: ArgumentHelp("Files of more bytes than this, as 100M.", valueName: "size"), transform: ByteSize.parse)
    var larger: ByteSize?
    @Option(help: ArgumentHelp("Files of fewer bytes than this.", valueName: "size"), transform: ByteSize.parse)
    var smaller: ByteSize?
    @Option(help: ArgumentHelp("Files changed at this time (UTC) or after it.", valueName: "yyyy-mm-dd"))
    var newer: String?
    @Option(help: ArgumentHelp("Files changed before this time.", valueName: "yyyy-mm-dd")) var older: String?
    @Flag(name: .customShort("0"), help: "End names with a zero byte, for xargs -0.") var zero = false
    @Option(help: ArgumentHelp("human; or json: an array of objects.", valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The directories.", valueName: "IMAGE:/PATH"), completion: .file())
    var files: [String]

    func validate() throws {
        for time in [newer, older] {
            guard let time, FileMatch.seconds(ofDay: time) == nil else { continue }
            throw ValidationError("\(time) is no day as 2026-11-30")
        }
        if zero, output == .json { throw ValidationError("-0 is for names, and not for --output json") }
    }

    func run() throws {
        let printer = StandardOutput()
        var reports = JSONListOutput(to: printer)
        let isDone = try guest.forEach(files, as: output) { opened, onError in
            let start = try opened.tree.node(opened.place.path, followsLast: false)
            let walk = GuestWalk(tree: opened.tree, onError: onError)
            try walk.run(start) { node, status in
                guard matches(node, status) else { return true }
                if output == .json {
                    try reports.append(try GuestReport(node, status, in: opened.tree))
                } else {
                    try printer.write(zero ? "\(node.text)\u{0}" : "\(printable(node.text))\n")
                }
                return true
            }
            try printer.flush()
        }
        try Failure.reported {
            if output == .json { try reports.end() }
            try printer.flush()
        }
        if !isDone { throw ExitCode(1) }
    }

    private func matches(_ node: GuestTree.Node, _ status: GuestStatus) -> Bool {
        if let type, !type.matches(status.kind) { return false }
        if let larger, status.size <= UInt64(larger.count) { return false }
        if let smaller, status.size >= UInt64(smaller.count) { return false }
        if let newer = newer.flatMap(FileMatch.seconds(ofDay:)), status.modified.seconds < newer { return false }
        if let older = older.flatMap(FileMatch.seconds(ofDay:)), status.modified.seconds >= older { return false }
        return name.map { FileMatch.matches(node.path.last ?? [], $0) } ?? true
    }
}
