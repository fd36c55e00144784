import ArgumentParser
import BlockImage
import Catalog
import Glibc
import GuestFiles
import HostStorage
import SystemPackage

/// `rblock cp`: files of a guest, copied to the host.
struct Copy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp",
        abstract: "Copy files of a guest to this host.",
        usage: "rblock cp [<options>] <IMAGE:/PATH> ... <DEST>",
        discussion: """
            Copies a file to the file DEST, or into the directory DEST, and with -r directories with all in them. Holes stay holes. Links \
            below a directory are copied as they are, and nothing is written through one: what is copied lies in DEST. Nothing is written \
            to the image. \(GuestText.names)

            Without -a files get the modes of the guest but for set-user-ID and set-group-ID, within the umask, and belong to who copies; \
            devices, FIFOs and sockets are left out. With -a they keep their modes and times, and for root owners, devices and FIFOs; \
            what is kept besides, hard links and extended attributes, 'rblock tar' has.

            \(GuestText.systems)

            EXAMPLES
              rblock cp disk.qcow2:/etc/fstab .
              rblock cp -r vm.ova/disk1.vmdk:/var/log logs
              rblock cp -a disk.qcow2:/srv/www /backup

            EXIT STATUS
              0   all was copied
              1   a file cannot be read or written; the others are copied all the same
              64  wrong usage

            SEE ALSO
              cp(1), rblock(1), rblock-cat(1), rblock-tar(1), rblock-names(7)
            """)

    /// What --output json says of each file that was named.
    private struct Report: Encodable {
        var source: PathText
        var destination: PathText
        /// How many files were copied, with those below, and their bytes.
        var files: Int
        var size: UInt64
        var complete: Bool
    }

    @OptionGroup var guest: GuestOptions
    @Flag(name: .shortAndLong, help: "Copy directories, with all in them.") var recursive = false
    @Flag(name: .shortAndLong, help: "Keep modes, times and, as root, owners and devices; with -r.") var archive = false
    @Option(
        help: ArgumentHelp(
            "human; or json: an array of objects with source, destination, files, size, and whether it is complete.",
            valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The files, and DEST.", valueName: "IMAGE:/PATH"), completion: .file())
    var files: [String]

    func run() throws {
        guard files.count > 1 else { throw ValidationError("Missing expected argument 'DEST'") }
        guard GuestPlace(files[files.count - 1]) == nil else {
            throw ValidationError("\(files[files.count - 1]): nothing is copied into a guest")
        }
        let destination = FilePath(text: files[files.count - 1])
        let isFolder = (try? FileStatus(at: destination).kind) == .folder
        var reports: [Report] = []
        let isDone = try guest.forEach(Array(files.dropLast()), as: output) { opened, onError in
            guard isFolder || files.count == 2 else { throw Failure("\(destination.text): is no directory") }
            let tree = opened.tree
            let node = try tree.node(opened.place.path)
            if try tree.status(of: node).kind == .directory, !recursive, !archive {
                throw Failure("\(opened.text): is a directory; -r copies it")
            }
            let target = isFolder ? destination.pushing(node.path.last.map { FilePath(bytes: $0) } ?? "") : destination
            var isComplete = true
            let bar = try GuestTotal.bar(opened.text, node, in: tree)
            let extraction = GuestExtraction(of: tree, keepsAll: archive, bar: bar) { error in
                isComplete = false
                onError(error)
            }
            try extraction.copy(node, to: target)
            reports.append(
                Report(
                    source: PathText(opened.text), destination: PathText(target.text), files: extraction.files,
                    size: extraction.size, complete: isComplete))
        }
        if output == .json, !reports.isEmpty || files.count > 2 { try Failure.reported { try writeJSON(reports) } }
        if !isDone { throw ExitCode(1) }
    }
}
