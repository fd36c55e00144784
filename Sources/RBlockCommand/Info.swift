import ArgumentParser
import BlockImage
import ImageFormats
import ImageTools
import Reports

/// `rblock info`: what an image is.
struct Info: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell what an image is: its format, sizes, features, snapshots.",
        usage: "rblock info [<options>] <IMAGE> ...",
        discussion: """
            Says what qemu-img info says, under the same names, and more: notes, who uses the image, the partition table \
            where the disk can be read. IMAGE is the only file that is opened: what it names (backing files, extents, data \
            files) may be missing. So a VMDK whose extents are files has the size that its descriptor says, and the disk \
            size of the descriptor alone; --backing-chain and --allocation open all files. Of an overlay of 'rblockfs --overlay' it \
            opens the image under it, where --allow-path lets it, and says whether that is the one it was made over. Of an OVA, its machines, disks and \
            files are listed; APPLIANCE.ova/DISK is one of its disks.

            As JSON, one IMAGE is an object, or with --backing-chain an array of the objects of its chain, topmost first, \
            as qemu-img writes it. Several are an array of what each one alone would be. What qemu-img does not say is in \
            the object "rblock", and what is wrong with an image in "error".

            EXAMPLES
              rblock info disk.qcow2
              # with what lies under it, down to the image that names no other
              rblock info --backing-chain overlay.qcow2
              # the sizes of many disks, for a script
              rblock info --output json *.vmdk | jq '.[]."virtual-size"'
              # how much of the disk is data, zeros, compressed
              rblock info --allocation --output json disk.qcow2 | jq .rblock.allocation

            EXIT STATUS
              0   done
              1   an image cannot be opened or read; the others were shown
              2   with --allocation: parts of a disk cannot be found; they are
                  named, as lost, and the others were counted
              64  wrong usage

            SEE ALSO
              qemu-img(1), rblock(1), rblock-inspect(1), rblock-map(1), rblock-json(5),
              rblock-formats(7), rblock-names(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var sharing: SharingOption
    @OptionGroup var under: BackingOption
    @Option(help: ArgumentHelp("human, or json: the keys of qemu-img info, and more.", valueName: "form")) var output =
        OutputForm.human
    @Flag(help: "Tell of the images under it as well, and open all files that they name.") var backingChain = false
    @Flag(help: "Count how the disk is stored, over the whole chain, and what its dirty bitmaps call dirty.")
    var allocation = false
    @Argument(help: ArgumentHelp("The images.", valueName: "IMAGE"), completion: .file())
    var images: [String]

    func validate() throws {
        try under.check(images)
        guard under.backing == nil || backingChain || allocation else {
            throw ValidationError("--backing: goes with --backing-chain or --allocation; nothing else opens that file")
        }
    }

    func run() throws {
        var failed = false
        var hasLost = false
        try Failure.reported(as: output) {
            let named = try images.map { path throws(ImageError) in
                var image = try options.image(path)
                under.apply(to: &image)
                return image
            }
            let text = StandardOutput()
            for (index, image) in named.enumerated() {
                let reports = image.reports(chain: backingChain, allocation: allocation)
                switch output {
                case .human:
                    for (depth, report) in reports.enumerated() where report.isDescribed {
                        try text.write(lines: (index + depth > 0 ? "\n" : "") + HumanInfo(report).text)
                    }
                case .json:
                    if named.count > 1 { try text.write(index == 0 ? "[\n" : ",\n") }
                    let document = backingChain ? try jsonText(reports) : try jsonText(reports[0])
                    try text.write(document)
                    if index == named.count - 1 { try text.write(named.count > 1 ? "\n]\n" : "\n") }
                }
                // What is said of an image stands before what is wrong with it.
                try text.flush()
                for report in reports {
                    if let lost = report.more?.lost {
                        hasLost = true
                        sayLost(lost, of: report.filename, "cannot be found")
                    }
                    guard let error = report.error ?? report.more?.allocationError else { continue }
                    failed = true
                    Failure.say(error.description)
                }
            }
        }
        if failed { throw ExitCode(1) }
        if hasLost { throw ExitCode(2) }
    }
}
