import ArgumentParser
import BlockImage
import Catalog
import Glibc
import GuestFiles

/// `rblock mkdir`: directories in a guest.
struct MakeDirectory: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mkdir",
        abstract: "Make directories in a guest.",
        usage: "rblock mkdir [<options>] <IMAGE:/PATH> ...",
        discussion: """
            Makes directories, which belong to root and have the mode 755. In each image all are made, or none, and stored when this ends. \(GuestText.writing)

            EXAMPLES
              rblock mkdir disk.qcow2:/srv/data
              rblock mkdir -p disk.qcow2:/usr/local/share/ca-certificates/ours
              rblock mkdir --mode 700 vm.raw:/root/.ssh

            EXIT STATUS
              0   all are there
              1   one cannot be made, or the image cannot be written to: that image
                  is as it was
              64  wrong usage

            SEE ALSO
              mkdir(1), rblock(1), rblock-cp(1), rblock-rm(1), rblock-json(5),
              rblock-names(7)
            """)

    @OptionGroup var guest: GuestOptions
    @OptionGroup var writing: WritingOptions
    @Flag(name: .shortAndLong, help: "Make those that they are in as well; what is there already is no error.")
    var parents = false
    @Option(help: ArgumentHelp("The mode, in octal digits.", valueName: "mode"), transform: Self.mode) var mode:
        UInt16 = 0o755
    @Option(
        help: ArgumentHelp("human; or json: an array of objects with image, overlay and files.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The directories.", valueName: "IMAGE:/PATH"), completion: .file()) var files: [String]

    private static func mode(_ text: String) throws -> UInt16 {
        guard let mode = UInt16(text, radix: 8), mode <= 0o7777 else {
            throw ValidationError("\(text) is no mode, as 755")
        }
        return mode
    }

    func run() throws {
        try GuestChange.run(files, guest, writing, output) { place, tree in
            let names = place.path.split(separator: UInt8(ascii: "/")).map(Array.init)
            var count = 0
            for length in 1...max(names.count, 1) where parents || length == names.count {
                let path = names.prefix(length).flatMap { [UInt8(ascii: "/")] + $0 }
                if parents, (try? tree.status(of: tree.node(path)).kind) == .directory { continue }
                let folder = try tree.node(
                    names.prefix(length - 1).flatMap { [UInt8(ascii: "/")] + $0 } + [UInt8(ascii: "/")])
                guard let name = names.prefix(length).last, try tree.find(name, in: folder) == nil else {
                    throw ImageError(.system(errno: EEXIST), path: nameText(place.path), "is there already")
                }
                let node = try tree.make(
                    .directory, called: name, permissions: length == names.count ? mode : 0o755, in: folder)
                try tree.setPermissions(length == names.count ? mode : 0o755, of: node)
                count += 1
            }
            return count
        }
    }
}
