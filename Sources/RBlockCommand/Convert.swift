import ArgumentParser
import BlockImage
import Catalog
import FormatCore
import HostStorage
import ImageFormats
import ImageTools
import Reports
import SystemPackage

extension CompressionType: ExpressibleByArgument {}

/// `rblock convert`: the disk of an image, in a new image.
struct Convert: ParsableCommand {
    /// The exit status where all is done but for what could not be read.
    private static let lostStatus: Int32 = 2

    static let configuration = CommandConfiguration(
        abstract: "Copy the disk of an image into a new image.",
        discussion: """
            SRC is an image of any format, with all that it names, a raw file, a block device, or a disk of an OVA. DST is a new file, or a \
            block device, which becomes a raw disk. Holes and zeros take no space in the new image. Where the file system \
            can share space between files, as XFS and Btrfs can, it is shared.

            DST is there when all of it is written, and on the disk; when anything goes wrong before that, nothing of it \
            is left, and what was there is as it was. That does not hold for a device, of course. A link is followed: the \
            image takes the place of the file that it leads to. One input and the same options always make the same bytes.

            'rblock create -f FORMAT -o help' lists the options of a format.

            --from-sectors takes what 'rblock diff --sectors' prints: the other sectors are zeros in the new image.

            EXAMPLES
              rblock convert disk.raw disk.qcow2
              # a device into a compressed image, and back
              rblock convert /dev/vg/root backup.qcow2 --compress zstd
              rblock convert --force backup.qcow2 /dev/vg/root
              # the disk that a snapshot keeps, and a partition of it
              rblock convert --snapshot monday disk.qcow2 monday.vmdk
              rblock convert disk.qcow2@monday/p1 root.raw
              # a VMDK to upload
              rblock convert -O vmdk -o subformat=streamOptimized disk.qcow2 disk.vmdk
              rblock convert -o cluster_size=2M,extended_l2=on disk.vmdk disk.qcow2
              # a disk of an appliance
              rblock convert shop.ova/disk2.vmdk disk2.qcow2
              # what can still be read of a disk that fails
              rblock convert --ignore-read-errors /dev/sdx rescued.raw

            EXIT STATUS
              0   the new image is there
              1   an image cannot be read, or the new one not be written; nothing is left
              2   the new image is there, but parts of SRC could not be read, which
                  are zeros in it: only with --ignore-read-errors
              64  wrong usage

            SEE ALSO
              qemu-img(1), rblock(1), rblock-create(1), rblock-delta(1), rblock-json(5),
              rblock-formats(7), rblock-guide(7), rblock-names(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var reading: ReadingOptions
    @OptionGroup var under: BackingOption
    @Option(
        name: [.customShort("O"), .long],
        help: ArgumentHelp(
            "The format of the new image: \(creatableFormats); by default what the name of DST says.",
            valueName: "format"))
    var outputFormat: ImageFormat?
    @OptionGroup var new: NewImageOptions
    @Option(help: ArgumentHelp("Compress the new image: zlib, or zstd for qcow2.", valueName: "type"))
    var compress: CompressionType?
    @Flag(name: .customShort("c"), help: "Compress it by the usual type of the format.") var compressed = false
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How hard to compress: 1 to 12 for zlib, 1 to 19 for zstd.", valueName: "N"))
    var level: Int?
    @Option(
        name: [.customShort("l"), .long],
        help: ArgumentHelp("Copy the disk of this internal snapshot (its name, or else its ID).", valueName: "name"),
        completion: .snapshots { (verb: Convert) in verb.options.bare(verb.source) })
    var snapshot: String?
    @Option(
        help: ArgumentHelp(
            "Copy only the sectors that this file names, or standard input for -.", valueName: "file"),
        completion: .file())
    var fromSectors: String?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("The bytes of a sector of --from-sectors: 512 or 4096.", valueName: "size"))
    var sectorSize = 512
    @Option(name: .customShort("t"), help: .hidden) var cacheMode: String?
    @Flag(help: "The device that is DST has zeros everywhere, so that none are written. New files have, anyway.")
    var targetIsZero = false
    @Flag(help: "Go on where SRC cannot be read: zeros take the place of the sectors that are lost, which are named.")
    var ignoreReadErrors = false
    @Option(help: ArgumentHelp("human, or json: what was made of what, and what was lost.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The image to copy.", valueName: "SRC"), completion: .file()) var source: String
    @Argument(help: ArgumentHelp("The new image.", valueName: "DST"), completion: .file()) var destination: String

    func validate() throws {
        guard [512, 4096].contains(sectorSize) else {
            throw ValidationError("--sector-size is \(sectorSize), and must be 512 or 4096")
        }
        guard cacheMode == nil else {
            throw ValidationError("-t: how files are cached is not chosen; --no-sync waits for no disk, as -t unsafe")
        }
    }

    func run() throws {
        reading.progress.begin(output)
        let list = try new.list()
        guard !list.asksForHelp else {
            return try printOptions(as: output) { try format(of: destination) }
        }
        var hasLost = false
        try Failure.reported(as: output, filename: destination) {
            let document = try copy(to: destination, list)
            hasLost = !document.lost.isEmpty
            switch output {
            case .human: try report(document)
            case .json: try writeJSON(document)
            }
        }
        if hasLost { throw ExitCode(Self.lostStatus) }
    }

    private func format(of path: String) throws(Failure) -> ImageFormat {
        if outputFormat == nil, isDevice(path) { return .raw }
        return try newFormat(outputFormat, of: path, option: "-O")
    }

    private func isDevice(_ path: String) -> Bool {
        if case .blockDevice? = try? FileStatus(at: FilePath(text: path)).kind { true } else { false }
    }

    private func copy(to path: String, _ list: ImageOptionList) throws -> ConvertReport {
        let format = try format(of: path)
        guard format == .raw || !isDevice(path) else {
            throw Failure("\(path): is a device, and must become a raw disk, not \(format.rawValue)", status: 64)
        }
        var named = try options.image(source)
        try named.choose(snapshot: snapshot)
        under.apply(to: &named)
        let disk = try reading.disk(named)
        let image = try newImage(format, size: disk.image.virtualSize, list)
        var copy = DiskCopy(of: disk.image, parts: try parts(of: disk.image.virtualSize))
        copy.ignoresReadErrors = ignoreReadErrors
        var target = new.destination(disk.files)
        target.isZero = targetIsZero
        let place = try imageDestination(at: FilePath(text: path), target)
        let writer = try image.writer(named: place.imageName, in: place)
        let bar = ProgressBar("convert", total: copy.end)
        let result = try copy.run(into: writer) { bar.update($0) }
        try writer.finish()
        try reading.checkUnchanged(disk)
        try place.place()
        bar.hide()
        return ConvertReport(
            path: path, format: format.rawValue, virtualSize: image.size, actualSize: place.actualSize, result)
    }

    private func newImage(_ format: ImageFormat, size: UInt64, _ list: ImageOptionList) throws -> NewImage {
        guard !list.items.contains(where: { $0.name == "backing_file" || $0.name == "backing_fmt" }) else {
            throw Failure(
                "option backing_file: a copy holds all of the disk; rblock delta makes an image over another one",
                status: 64)
        }
        let isImplied = (format.driver as? any CreatableFormat)?.isCompressedByLevel ?? false
        guard level == nil || compress != nil || compressed || isImplied else {
            throw Failure("--level: goes with --compress", status: 64)
        }
        return try usage { () throws(OptionFault) in
            var image = try NewImage(format, size: size, list)
            if compress != nil || compressed || level != nil { try image.compress(compress, level: level) }
            try image.check()
            return image
        }
    }

    /// The parts of a disk of `size` bytes that --from-sectors names; nil: all of it.
    private func parts(of size: UInt64) throws -> [Range<UInt64>]? {
        guard let fromSectors else { return nil }
        let isInput = fromSectors == "-"
        var list = SectorList(sectorSize: sectorSize, path: isInput ? "standard input" : fromSectors)
        do {
            let file =
                isInput
                ? FileDescriptor.standardInput
                : try FileDescriptor.open(FilePath(text: fromSectors), .readOnly, options: .closeOnExec)
            defer { if !isInput { try? file.close() } }
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            while true {
                // Safe: read writes at most as many bytes as the array has.
                let count = unsafe try bytes.withUnsafeMutableBytes { unsafe try file.read(into: $0) }
                guard count > 0 else { break }
                try list.add(bytes[..<count])
            }
        } catch let error as Errno {
            throw ImageError(.system(errno: error.rawValue), path: fromSectors, "read: \(error)")
        }
        return try list.parts(of: size)
    }

    private func report(_ document: ConvertReport) throws {
        sayLost(document.lost, of: source, "could not be read, and are zeros in \(document.path)")
        guard !new.quiet else { return }
        let output = StandardOutput()
        try output.write(
            lines: "\(printable(document.path)): \(document.format), \(humanSize(document.virtualSize)), of which "
                + "\(humanSize(document.bytesWritten)) hold data\(takenSpace(document.actualSize))\n")
        try output.flush()
    }
}
