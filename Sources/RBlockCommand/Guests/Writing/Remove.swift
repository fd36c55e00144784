import ArgumentParser
import BlockImage
import Catalog
import Glibc
import GuestFiles

/// `rblock rm`: files of a guest, removed.
struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm",
        abstract: "Remove files of a guest.",
        usage: "rblock rm [<options>] <IMAGE:/PATH> ...",
        discussion: """
            Removes files, and with -r directories with all in them. Links are removed, and not followed. In each image all is done, or nothing, and stored \
            when this ends. \(GuestText.writing)

            EXAMPLES
              rblock rm disk.qcow2:/etc/machine-id
              rblock rm -r --force disk.qcow2:/var/cache disk.qcow2:/var/log/journal
              # the image stays as it is
              rblock rm --overlay changes.qcow2 vm.vmdk:/etc/fstab

            EXIT STATUS
              0   all is removed
              1   a file is not there, or cannot be removed, or the image cannot be
                  written to: that image is as it was
              64  wrong usage

            SEE ALSO
              rm(1), rblock(1), rblock-cp(1), rblock-mkdir(1), rblock-json(5),
              rblock-names(7)
            """)

    @OptionGroup var guest: GuestOptions
    @OptionGroup var writing: WritingOptions
    @Flag(name: .shortAndLong, help: "Remove directories, with all in them.") var recursive = false
    @Flag(help: "Say nothing of files that are not there.") var force = false
    @Option(
        help: ArgumentHelp("human; or json: an array of objects with image, overlay and files.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The files.", valueName: "IMAGE:/PATH"), completion: .file()) var files: [String]

    func run() throws {
        try GuestChange.run(files, guest, writing, output) { place, tree in
            let node: GuestTree.Node
            do throws(ImageError) {
                node = try tree.node(place.path, followsLast: false)
            } catch {
                if force, error.code == .missing { return 0 }
                throw error
            }
            guard let name = node.path.last else { throw Failure("\(place.image): its root directory is not removed") }
            let parent = try tree.parent(of: node)
            guard try tree.status(of: node).kind == .directory else {
                try tree.remove(name, in: parent)
                return 1
            }
            guard recursive else { throw Failure("\(node.text): is a directory; -r removes it") }
            return try remove(node, name, in: parent, of: tree, depth: 0)
        }
    }

    /// Removes the directory `node` with all in it. The result: how many files they were.
    private func remove(
        _ node: GuestTree.Node, _ name: [UInt8], in parent: GuestTree.Node, of tree: GuestTree, depth: Int
    ) throws -> Int {
        guard depth < 512 else { throw Failure("\(node.text): directories are in each other without an end") }
        var count = 1
        let listing = try tree.listing(of: node)
        for index in 0..<listing.count {
            // By its name: what is listed may be known by another name that was removed already.
            let name = listing.name(index)
            guard let child = try tree.find(name, in: node) else { continue }
            if try tree.status(of: child).kind == .directory {
                count += try remove(child, name, in: node, of: tree, depth: depth + 1)
            } else {
                try tree.remove(name, in: node)
                count += 1
            }
        }
        try tree.remove(name, in: parent)
        return count
    }
}
