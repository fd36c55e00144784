import ArgumentParser
import Arguments
import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats
import ImageTools
import Reports
import SystemPackage

/// `rblock create`: a new, empty image.
struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a new image, whose disk is empty or that of a backing image.",
        discussion: """
            SIZE is in bytes, as 1073741824, 512M, 1.5G or 20GiB (also K, T, P and E, of powers of 1024), or 20GB (of powers of \
            1000). With -b, the disk is that of the image BACKING, \
            until FILE is written to; SIZE is its size, if none is given. BACKING is looked for from the folder of \
            FILE, and must be there. It must not be changed any more afterwards.

            EXAMPLES
              rblock create disk.qcow2 20G
              rblock create -o cluster_size=2M,preallocation=metadata disk.qcow2 100G
              # over another image, which stays as it is
              rblock create -b base.qcow2 overlay.qcow2
              rblock create -b base.raw -F raw overlay.qcow2 40G
              # in files of 2 GiB
              rblock create -o subformat=twoGbMaxExtentSparse disk.vmdk 8G
              # the options of a format
              rblock create -f vmdk -o help

            EXIT STATUS
              0   the new image is there
              1   it cannot be made, or the backing image not be opened; nothing is left
              64  wrong usage

            SEE ALSO
              qemu-img(1), rblock(1), rblock-convert(1), rblock-delta(1), rblock-json(5),
              rblock-formats(7)
            """)

    @OptionGroup var options: ImageOptions
    @Option(
        name: .shortAndLong,
        help: ArgumentHelp("The backing image: its name, as FILE is to have it.", valueName: "BACKING"),
        completion: .file())
    var backing: String?
    @Option(
        name: [.customShort("F"), .long],
        help: ArgumentHelp("The format of the backing image; by default what its name says.", valueName: "format"))
    var backingFormat: ImageFormat?
    @OptionGroup var new: NewImageOptions
    @Option(help: ArgumentHelp("human, or json: what was made.", valueName: "form")) var output = OutputForm.human
    @Argument(help: ArgumentHelp("The new image.", valueName: "FILE"), completion: .file()) var file: String?
    @Argument(help: ArgumentHelp("The size of its disk.", valueName: "SIZE"), transform: ByteSize.parse) var size:
        ByteSize?

    func validate() throws {
        guard try file != nil || new.list().asksForHelp else {
            throw ValidationError("Missing expected argument 'FILE'")
        }
    }

    func run() throws {
        var list = try new.list()
        guard let file, !list.asksForHelp else {
            return try printOptions(as: output) { try format(of: file ?? "") }
        }
        // What qemu-img has for these options is understood as well.
        let (name, backingFormat) = (list.take("backing_file"), list.take("backing_fmt"))
        try Failure.reported(as: output, filename: file) {
            let document = try make(file, over: try backingImage(name, backingFormat), list)
            switch output {
            case .human:
                guard !new.quiet else { break }
                let output = StandardOutput()
                try output.write(
                    lines: "\(printable(document.path)): \(document.format), \(humanSize(document.virtualSize))"
                        + "\(takenSpace(document.actualSize))\n")
                try output.flush()
            case .json: try writeJSON(document)
            }
        }
    }

    private func format(of path: String) throws(Failure) -> ImageFormat {
        try newFormat(options.format, of: path, option: "-f")
    }

    /// The image that the new one is over, if any, with its format; `name` and `format` are what the options of the
    /// format said of it.
    private func backingImage(
        _ name: String?, _ format: String?
    ) throws -> (name: String, format: ImageFormat)? {
        guard let name = backing ?? name else {
            guard format == nil, backingFormat == nil else {
                throw Failure("the format of a backing image is said, and no backing image: -b names it", status: 64)
            }
            return nil
        }
        if let backingFormat { return (name, backingFormat) }
        if let format {
            guard let format = ImageFormat(rawValue: format) else {
                throw Failure(
                    "option backing_fmt: is \"\(format)\", but must be \(ImageFormat.names(before: "or"))", status: 64)
            }
            return (name, format)
        }
        if case .format(let format)? = ImageFormat.naming(of: name.nameBytes) { return (name, format) }
        throw Failure(
            "\(name): the name does not say the format of the backing image; -F \(ImageFormat.names(before: "or")) says it",
            status: 64)
    }

    private func make(
        _ path: String, over backing: (name: String, format: ImageFormat)?, _ list: ImageOptionList
    ) throws -> CreateReport {
        let format = try format(of: path)
        var opened: OpenedImage?
        if let backing {
            // From the folder of the new image, as programs that open that do it; an absolute name stays what it is.
            var named = try options.image(
                FilePath(text: path).removingLastComponent().pushing(FilePath(text: backing.name)).text)
            named.format = backing.format
            guard !named.isInContainer else {
                throw Failure(
                    "\(backing.name): is in an archive, and cannot be a backing file; rblock convert makes a file of it"
                )
            }
            opened = try named.open()
        }
        let backingSize = try opened?.disk.result.get().virtualSize
        guard let size = size.map({ UInt64($0.count) }) ?? backingSize else {
            throw Failure("\(path): the size of the disk must be said, as no backing image has one", status: 64)
        }
        var image = try usage { () throws(OptionFault) in try NewImage(format, size: size, list) }
        if let backing, let opened {
            let named = NewBacking(
                name: backing.name.nameBytes, format: backing.format.rawValue, image: opened.layers.first?.image)
            try usage { () throws(OptionFault) in try image.setBacking(named) }
        }
        try usage { () throws(OptionFault) in try image.check(sizeIsSaid: self.size != nil) }
        let sources = opened?.layers.flatMap(\.files) ?? []
        let place = try imageDestination(at: FilePath(text: path), new.destination(sources))
        guard !(place is DeviceDestination) else {
            throw Failure("\(path): is a device, which needs no image to be made on it", status: 64)
        }
        try image.writer(named: place.imageName, in: place).finish()
        try place.place()
        return CreateReport(
            path: path, format: format.rawValue, virtualSize: image.size, actualSize: place.actualSize,
            backing: backing?.name,
            backingFormat: backing?.format.rawValue)
    }
}
