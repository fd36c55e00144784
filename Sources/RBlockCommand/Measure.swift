import ArgumentParser
import Arguments
import BlockImage
import Catalog
import FormatCore
import ImageFormats
import ImageTools
import Reports

/// `rblock measure`: how much space a new image would take.
struct Measure: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell how much space a new image of a disk would take.",
        discussion: """
            Tells the size of the file, or of the files together, that rblock convert would make of the disk of IMAGE, \
            and what of it takes space on a host whose files can have holes: for raw and flat images, less. That is at \
            most so much, for convert leaves out what is stored but is zeros, which this does not look for: the disk is \
            not read. Fully allocated is the size when every byte of the disk is stored. With --size, the disk is a new \
            one without any data.

            How small an image becomes that is compressed is not known before it is made: -o subformat=streamOptimized \
            is refused. The descriptor of a VMDK has the name of its file in it, which makes some bytes.

            EXAMPLES
              rblock measure -O qcow2 disk.vmdk
              # a new disk in larger clusters
              rblock measure -O qcow2 -o cluster_size=2M --size 100G
              # one number for a script
              rblock measure -O vmdk --output json disk.qcow2 | jq .required

            EXIT STATUS
              0   done
              1   the image cannot be opened, or where its disk is stored cannot be read
              64  wrong usage

            SEE ALSO
              rblock-convert(1), rblock-create(1), rblock-map(1), rblock-formats(7), qemu-img(1)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var reading: ReadingOptions
    @OptionGroup var under: BackingOption
    @Option(
        name: [.customShort("O"), .long],
        help: ArgumentHelp("The format of the new image: \(creatableFormats).", valueName: "format"))
    var outputFormat = ImageFormat.raw
    @Option(
        name: .customShort("o"),
        help: ArgumentHelp(
            "Options of the format, as for rblock convert: cluster_size=64k,extended_l2=on. Repeatable.",
            valueName: "name=value,..."),
        completion: .newImageOptions)
    var settings: [String] = []
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("The size of a new disk, in place of IMAGE, in bytes or as 64K, 1M, 2G.", valueName: "size"),
        transform: ByteSize.parse)
    var size: ByteSize?
    @Option(
        name: [.customShort("l"), .long],
        help: ArgumentHelp("The internal snapshot whose disk is meant, by its name or ID.", valueName: "name"),
        completion: .snapshots { (verb: Measure) in verb.options.bare(verb.image ?? "") })
    var snapshot: String?
    @Option(help: ArgumentHelp("human, or json: what qemu-img measure writes.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The image.", valueName: "IMAGE"), completion: .file()) var image: String?

    func validate() throws {
        guard (image == nil) != (size == nil) || settings.contains("help") else {
            throw ValidationError(
                image == nil
                    ? "Missing expected argument 'IMAGE', or --size" : "--size: is of a new disk, and IMAGE has its own"
            )
        }
    }

    func run() throws {
        reading.progress.begin(output)
        let list = try optionList(settings)
        guard !list.asksForHelp else {
            return try printOptions(as: output) { outputFormat }
        }
        try Failure.reported(as: output, filename: image) {
            let document = try measure(list)
            switch output {
            case .human:
                let output = StandardOutput()
                try output.write(
                    """
                    required size: \(document.required) (\(humanSize(document.required)))
                    takes on the host: \(document.actualSize) (\(humanSize(document.actualSize)))
                    fully allocated size: \(document.fullyAllocated) (\(humanSize(document.fullyAllocated)))

                    """)
                try output.flush()
            case .json: try writeJSON(document)
            }
        }
    }

    private func measure(_ list: ImageOptionList) throws -> MeasureReport {
        var disk: NamedDisk?
        if let image {
            var named = try options.image(image)
            try named.choose(snapshot: snapshot)
            under.apply(to: &named)
            disk = try reading.disk(named)
        }
        let diskSize = disk?.image.virtualSize ?? UInt64(size?.count ?? 0)
        let new = try usage { () throws(OptionFault) in
            let new = try NewImage(outputFormat, size: diskSize, list)
            try new.check(sizeIsSaid: image == nil)
            return new.measured()
        }
        let measure = DiskMeasure(diskSize: new.size) { files in
            let writer = try new.writer(named: "new.\(outputFormat.rawValue)", in: files)
            guard writer.encoder == nil else {
                throw Failure(
                    "all data of such an image is compressed, and its size is known when rblock convert has made it",
                    status: 64)
            }
            return writer
        }
        let bar = ProgressBar("measure", total: diskSize)
        let required = try measure.required(for: disk?.image) { bar.update($0) }
        bar.hide()
        if let disk { try reading.checkUnchanged(disk) }
        return MeasureReport(
            filename: image, format: outputFormat.rawValue, virtualSize: new.size, required: required.files,
            actualSize: required.stored,
            fullyAllocated: try new.image.fullyAllocatedSize ?? measure.fullyAllocated().files)
    }
}
