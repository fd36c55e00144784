import ArgumentParser
import BlockImage
import Catalog
import Glibc
import GuestFiles
import HostStorage
import SystemPackage

/// `rblock cp`: files of guests, copied to the host, from it, or to another guest.
struct Copy: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp",
        abstract: "Copy files between guests and this host.",
        usage: "rblock cp [<options>] <SRC> ... <DEST>",
        discussion: """
            SRC and DEST are files of guests, IMAGE:/PATH, or of this host; one of both is of a guest. Copies a file to the file DEST, or \
            into the directory DEST, and with -r directories with all in them. Holes stay holes. Links below a directory are copied as they \
            are, and nothing is written through one: what is copied lies in DEST. \(GuestText.names)

            Without -a files get the modes of SRC but for set-user-ID and set-group-ID, and belong to who copies: in a guest to root, and on \
            this host within the umask; devices, FIFOs and sockets are left out. With -a they keep modes, times, and owners, which on this \
            host takes root, as devices and FIFOs do; in a guest also hard links and extended attributes. On this host 'rblock tar' keeps \
            these.

            Into a guest, all is copied that can be read, or, where DEST cannot be written to, nothing; it is stored when this ends. \
            \(GuestText.writing)

            \(GuestText.systems)

            EXAMPLES
              rblock cp disk.qcow2:/etc/fstab .
              rblock cp -r vm.ova/disk1.vmdk:/var/log logs
              rblock cp -a disk.qcow2:/srv/www /backup
              # into a guest, and from one to another
              rblock cp authorized_keys disk.qcow2:/root/.ssh/
              rblock cp -a --overlay changes.qcow2 site vm.vmdk:/srv
              rblock cp a.vmdk:/etc/hosts b.qcow2:/etc/

            EXIT STATUS
              0   all was copied
              1   a file cannot be read or written; the others are copied all the
                  same, unless it is DEST that cannot be written to
              64  wrong usage

            SEE ALSO
              cp(1), rblock(1), rblock-cat(1), rblock-mkdir(1), rblock-rm(1),
              rblock-tar(1), rblock-json(5), rblock-names(7)
            """)

    /// What --output json says of each file that was named.
    private struct Report: Encodable {
        var source: PathText
        var destination: PathText
        /// Where what was written is; nil: in DEST.
        var overlay: PathText?
        /// How many files were copied, with those below, and their bytes.
        var files: Int
        var size: UInt64
        var complete: Bool
    }

    @OptionGroup var guest: GuestOptions
    @OptionGroup var writing: WritingOptions
    @Flag(name: .shortAndLong, help: "Copy directories, with all in them.") var recursive = false
    @Flag(name: .shortAndLong, help: "Keep modes, times, owners and what else there is; with -r.") var archive = false
    @Option(
        help: ArgumentHelp(
            "human; or json: an array of objects with source, destination, files, size, and whether it is complete.",
            valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The files, and DEST.", valueName: "SRC"), completion: .file())
    var files: [String]

    func run() throws {
        guard files.count > 1 else { throw ValidationError("Missing expected argument 'DEST'") }
        let destination = files[files.count - 1]
        guard let place = GuestPlace(destination) else { return try export(to: FilePath(text: destination)) }
        guest.beginProgress(output)
        var reports: [Report] = []
        try Failure.reported(as: output, filename: destination) {
            reports = try GuestSession.change(place.image, guest, writing) { session in
                let target = try ImportPlace(place, in: try session.tree(place.selector), isForSeveral: files.count > 2)
                let reports = try files.dropLast().map { try add($0, to: target, session) }
                session.isUnchanged = reports.allSatisfy { $0.files == 0 }
                return reports
            }
        }
        if output == .json { try Failure.reported { try writeJSON(reports) } }
        if reports.contains(where: { !$0.complete }) { throw ExitCode(1) }
    }

    // MARK: To this host

    private func export(to destination: FilePath) throws {
        guard files.dropLast().contains(where: { GuestPlace($0) != nil }) else {
            return try Failure.reported(as: output, filename: files[0]) {
                throw Failure(
                    "neither \(files[0]) nor \(destination.text) is a file of a guest, as disk.qcow2:/etc, or its image is not there",
                    status: 64)
            }
        }
        let isFolder = (try? FileStatus(at: destination).kind) == .folder
        var reports: [Report] = []
        let isDone = try guest.forEach(Array(files.dropLast()), as: output) { opened, onError in
            guard isFolder || files.count == 2 && files[1].utf8.last != UInt8(ascii: "/") else {
                throw Failure("\(destination.text): is no directory")
            }
            let tree = opened.tree
            let node = try tree.node(opened.place.path, followsLast: !archive)
            if try tree.status(of: node).kind == .directory { try checkRecursive(opened.text) }
            // By the name that was said, which is that of a link where one is followed.
            let name = opened.place.name ?? node.path.last
            let target = isFolder ? destination.pushing(name.map { FilePath(bytes: $0) } ?? "") : destination
            var isComplete = true
            let bar = try CopyTotal.bar(opened.text, GuestSource(tree: tree, node: node))
            let sources = Set(opened.disk.files.flatMap(\.identities))
            let extraction = GuestExtraction(of: tree, sources: sources, keepsAll: archive, bar: bar) { error in
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

    private func checkRecursive(_ text: String) throws(Failure) {
        guard recursive || archive else { throw Failure("\(text): is a directory; -r copies it") }
    }

    // MARK: Into a guest

    /// Copies the file called `text`, of a guest or of this host. What cannot be read of it is said.
    private func add(_ text: String, to target: ImportPlace, _ session: GuestSession) throws -> Report {
        var isComplete = true
        func onError(_ error: ImageError) {
            Failure.say(error.description)
            isComplete = false
        }
        var report = Report(
            source: PathText(text), destination: PathText(target.text), files: 0, size: 0, complete: false)
        report.overlay = session.overlay.map { PathText($0) }
        do {
            let (source, disk) = try source(text, session)
            if try source.status().kind == .directory { try checkRecursive(text) }
            let bar = try CopyTotal.bar(text, source)
            let work = GuestImport(into: target.tree, keepsAll: archive, bar: bar, onError: onError)
            try target.add(source, by: work)
            if let disk { try guest.sharing.checkUnchanged(disk, ignoresChanges: guest.ignoreChanges) }
            (report.files, report.size, report.complete) = (work.files, work.size, isComplete)
        } catch let error as ImageError {
            onError(error)
        } catch let error as Failure {
            Failure.say(error.message)
        }
        return report
    }

    /// The file called `text`, and the disk that it is on.
    private func source(_ text: String, _ session: GuestSession) throws -> (source: any CopySource, disk: NamedDisk?) {
        let follows = !recursive && !archive
        guard let place = GuestPlace(text) else {
            return (try HostSource(at: FilePath(text: text), followsLink: follows), nil)
        }
        if session.isOf(place.image) {
            let tree = try session.tree(place.selector)
            let node = try tree.node(place.path, followsLast: follows)
            return (GuestSource(tree: tree, node: node, isOfTarget: true, named: place.name), nil)
        }
        let opened = try guest.open(text)
        let node = try opened.tree.node(place.path, followsLast: follows)
        return (GuestSource(tree: opened.tree, node: node, named: place.name), opened.disk)
    }
}
