import ArgumentParser
import BlockImage
import Catalog
import GuestFiles
import SystemPackage

/// `rblock tar`: files of a guest as an archive.
struct Tar: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write files of a guest as an archive of tar.",
        usage: "rblock tar [<options>] <IMAGE:/PATH>",
        discussion: """
            Writes the directory, and all below it, to standard output, or to a file: with owners, modes, times to the nanosecond, links, devices, \
            extended attributes and holes, as tar(1) reads them. Names begin with './', from that directory on. \(GuestText.names)

            \(GuestText.systems)

            EXAMPLES
              rblock tar --file etc.tar disk.qcow2:/etc
              # as this user, below the directory out
              rblock tar disk.qcow2:/home/me | tar -x -C out
              # with all that root may keep
              rblock tar vm.vmdk:/ | tar -x --xattrs --xattrs-include='*' -p -C /srv/root
              rblock tar disk.qcow2:/ | zstd > root.tar.zst

            EXIT STATUS
              0   all was written
              1   the image or a file cannot be read; the others are written all the
                  same, and the archive is whole, unless the last message says else
              64  wrong usage; standard output is a terminal

            SEE ALSO
              rblock(1), rblock-cat(1), rblock-ls(1), tar(1), rblock-names(7)
            """)

    /// What --output json says of an archive.
    private struct Report: Encodable {
        var filename: PathText
        var path: PathText
        /// How many files are in the archive, and its bytes.
        var files: Int
        var size: UInt64
        var complete: Bool
    }

    @OptionGroup var guest: GuestOptions
    @Option(
        name: .customLong("file"),
        help: ArgumentHelp("Write the archive to this file; one that is there is replaced.", valueName: "file"),
        completion: .file()) var archive: String?
    @Option(
        help: ArgumentHelp(
            "human; or json, with --file: filename, path, files, size, and whether it is complete.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The directory, or file.", valueName: "IMAGE:/PATH"), completion: .file())
    var file: String

    func validate() throws {
        if output == .json, archive == nil {
            throw ValidationError("--output json: standard output has the archive; --file writes that elsewhere")
        }
    }

    func run() throws {
        var report: Report?
        let isDone = try guest.forEach([file], as: output) { opened, onError in
            let target = try archive.map {
                try FileDescriptor.replacing($0, but: Set(opened.disk.files.flatMap(\.identities)))
            }
            defer { try? target?.close() }
            if target == nil { try StandardOutput.refuseTerminal("--file writes it elsewhere") }
            let printer = StandardOutput()
            var size: UInt64 = 0
            let start = try opened.tree.node(opened.place.path)
            let bar = try CopyTotal.bar(file, GuestSource(tree: opened.tree, node: start))
            let files = try write(opened.tree, from: start, onError) { bytes in
                size += UInt64(bytes.byteCount)
                bar?.update(size)
                // What cannot be written is no fault of a file in the guest.
                do throws(ImageError) {
                    if let target, let archive {
                        try target.write(bytes, path: archive)
                    } else {
                        try printer.write(bytes)
                    }
                } catch { throw Failure(error) }
            }
            if let target, let archive { try target.finish(path: archive) }
            report = Report(
                filename: PathText(archive ?? ""), path: PathText(start.text), files: files, size: size, complete: true)
        }
        if output == .json, var report {
            report.complete = isDone
            try Failure.reported { try writeJSON(report) }
        }
        if !isDone { throw ExitCode(1) }
    }

    /// Hands the bytes of the archive to `write`. The result: how many files are in it.
    private func write(
        _ tree: GuestTree, from start: GuestTree.Node, _ onError: @escaping (ImageError) -> Void,
        _ write: @escaping (RawSpan) throws -> Void
    ) throws -> Int {
        var writer = TarWriter(of: tree, write)
        let isFolder = try tree.status(of: start).kind == .directory
        var count = 0
        try GuestWalk(tree: tree, onError: onError).run(start) { node, status in
            guard status.kind != .socket else {
                Failure.warn("\(node.text): is a socket, which archives have no place for")
                return true
            }
            let names = node.path.dropFirst(isFolder ? start.path.count : max(0, start.path.count - 1))
            let path = Array(names.joined(separator: [UInt8(ascii: "/")]))
            let dot = Array(path.isEmpty ? ".".utf8 : "./".utf8)
            do {
                try writer.add(node, status, as: isFolder ? dot + path : path)
                count += 1
            } catch let error as ImageError {
                guard !writer.isBroken else {
                    throw Failure("\(error): the archive ends in the middle of a file, and is of no use")
                }
                throw error
            }
            return true
        }
        try writer.end()
        return count
    }
}
