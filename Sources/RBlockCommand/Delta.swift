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

/// `rblock delta`: what of a disk has changed, as an image over the one that it was.
struct Delta: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write what changed between two disks as an image over the first.",
        discussion: """
            OUT is a QCOW2 image of the disk CHANGED that stores only the clusters in which that differs from the disk \
            BASE, and has BASE as its backing file. Both are images in any format, raw files, or block devices; BASE must \
            not be changed any more afterwards. What both take from the same place of the same file is not read. The disks \
            may have different sizes: OUT has that of CHANGED. As with rblock-convert(1), OUT is there when all of it is \
            written, and one input always makes the same bytes.

            OUT names BASE by its place in the folder of OUT, if it lies there or below it, and else by its absolute path. \
            Only --backing-name says it otherwise. Where BASE lies elsewhere, rblock and rblockfs read OUT with \
            --allow-path; where BASE is a device, only QEMU does.

            --from-bitmap takes what a dirty bitmap of CHANGED marks, and compares nothing. The internal snapshot of an \
            image cannot be a backing file: 'rblock convert --snapshot' makes a file of it that can be BASE.

            EXAMPLES
              rblock delta monday.qcow2 tuesday.qcow2 delta.qcow2
              rblock delta --compress zstd monday.vmdk tuesday.vmdk delta.qcow2
              # small changes: subclusters of 2K are stored
              rblock delta --extended-l2 base.raw /dev/vg/root delta.qcow2
              # what QEMU's dirty bitmap marks, without a comparison
              rblock delta --from-bitmap changes base.qcow2 disk.qcow2 delta.qcow2
              # up to a snapshot
              rblock delta --snapshot tuesday monday.qcow2 disk.qcow2 delta.qcow2
              # the base is to lie elsewhere
              rblock delta --backing-name /srv/base.qcow2 base.qcow2 new.qcow2 out.qcow2

            EXIT STATUS
              0   OUT is there
              1   BASE or CHANGED cannot be read, or OUT not be written; nothing is left
              64  wrong usage

            SEE ALSO
              qemu-img(1), rblock(1), rblock-convert(1), rblock-diff(1), rblock-json(5),
              rblock-formats(7), rblock-guide(7)
            """)

    @OptionGroup var options: ImageOptions
    @OptionGroup var reading: ReadingOptions
    @Option(help: ArgumentHelp("The format of BASE, if not that of --format.", valueName: "format"))
    var formatBase: ImageFormat?
    @Option(help: ArgumentHelp("The format of CHANGED, if not that of --format.", valueName: "format"))
    var formatChanged: ImageFormat?
    @Option(
        help: ArgumentHelp("The file that lies under BASE, in place of the one that it names.", valueName: "file"),
        completion: .file())
    var backingBase: String?
    @Option(
        help: ArgumentHelp("The file that lies under CHANGED, in place of the one that it names.", valueName: "file"),
        completion: .file())
    var backingChanged: String?
    @Option(
        help: ArgumentHelp(
            "Take the disk of this internal snapshot of CHANGED (its name, or else its ID).", valueName: "name"),
        completion: .snapshots { (verb: Delta) in verb.options.bare(verb.changed, format: verb.formatChanged) })
    var snapshot: String?
    @Option(
        help: ArgumentHelp("Take what this dirty bitmap of CHANGED marks, and compare nothing.", valueName: "name"),
        completion: .bitmaps { (verb: Delta) in verb.options.bare(verb.changed, format: verb.formatChanged) })
    var fromBitmap: String?
    @Option(help: ArgumentHelp("What OUT calls its backing file.", valueName: "name")) var backingName: String?
    @Option(
        parsing: .unconditional, help: ArgumentHelp("The bytes of a cluster: -o cluster_size.", valueName: "size"),
        transform: ByteSize.parse)
    var clusterSize: ByteSize?
    @Flag(
        name: .customLong("extended-l2"),
        help: "Store single subclusters, of which a cluster has 32: -o extended_l2=on.")
    var extendedL2 = false
    @OptionGroup var new: NewImageOptions
    @Option(help: ArgumentHelp("Compress what is stored: zlib or zstd.", valueName: "type"))
    var compress: CompressionType?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("How hard to compress: 1 to 12 for zlib, 1 to 19 for zstd.", valueName: "N"))
    var level: Int?
    @Option(help: ArgumentHelp("human, or json: what was made of what, and how much had changed.", valueName: "form"))
    var output = OutputForm.human
    @Argument(help: ArgumentHelp("The disk as it was.", valueName: "BASE"), completion: .file()) var base: String
    @Argument(help: ArgumentHelp("The disk as it is.", valueName: "CHANGED"), completion: .file()) var changed: String
    @Argument(help: ArgumentHelp("The new image.", valueName: "OUT"), completion: .file()) var out: String

    func validate() throws {
        if snapshot != nil && fromBitmap != nil {
            throw ValidationError("--from-bitmap: marks what was written to the current disk, not to a --snapshot")
        }
        if case .format(let format)? = ImageFormat.naming(of: out.nameBytes), format != .qcow2 {
            throw ValidationError("\(out): a delta is a QCOW2 image, and its name says \(format.rawValue)")
        }
    }

    func run() throws {
        reading.progress.begin(output)
        let list = try optionList()
        if list.asksForHelp { return try printOptions(as: output) { .qcow2 } }
        try Failure.reported(as: output, filename: out) {
            let document = try write(list)
            switch output {
            case .human: try report(document)
            case .json: try writeJSON(document)
            }
        }
    }

    /// The options of the new image, those that have names of their own among them.
    private func optionList() throws -> ImageOptionList {
        var list = try new.list()
        guard !list.items.contains(where: { $0.name == "backing_file" || $0.name == "backing_fmt" }) else {
            throw ValidationError("option backing_file: is always BASE; --backing-name says what OUT calls it")
        }
        try usage { () throws(OptionFault) in
            if let clusterSize { try list.add("cluster_size=\(clusterSize.count)") }
            if extendedL2 { try list.add("extended_l2=on") }
        }
        return list
    }

    private func write(_ list: ImageOptionList) throws -> DeltaReport {
        var (was, now) = (try options.image(base), try options.image(changed))
        (was.format, now.format) = (formatBase ?? was.format, formatChanged ?? now.format)
        try now.choose(snapshot: snapshot)
        try was.checkIsWhole()
        guard backingName != nil || !was.isInContainer else {
            throw Failure(
                "\(base): is in an archive, and cannot be a backing file; rblock convert makes a file of it, and "
                    + "--backing-name says what OUT is to call that")
        }
        (was.backing, now.backing) = (backingBase.map { FilePath(text: $0) }, backingChanged.map { FilePath(text: $0) })
        (was.options.backingOption, now.options.backingOption) = ("--backing-base", "--backing-changed")
        // Two disks of one encrypted chain are unlocked once.
        now.options.keys = was.options.keys
        let resources = LayerResources()
        let disks = (was: try reading.disk(was, resources: resources), now: try reading.disk(now, resources: resources))
        let backing = NewBacking(name: try backingFile(), format: disks.was.format.rawValue)
        let image = try newImage(list, size: disks.now.image.virtualSize, over: backing)
        let place = try imageDestination(at: FilePath(text: out), new.destination(disks.was.files + disks.now.files))
        guard !(place is DeviceDestination) else {
            throw Failure("\(out): is a device, and a delta must be a file", status: 64)
        }
        let delta = DiskDelta(of: disks.now.image, try evidence(disks.was, disks.now))
        let writer = try image.writer(named: place.imageName, in: place)
        let bar = ProgressBar("delta", total: disks.now.image.virtualSize)
        let result = try delta.run(into: writer) { bar.update($0) }
        try writer.finish()
        try reading.checkUnchanged(disks.was)
        try reading.checkUnchanged(disks.now)
        try place.place()
        bar.hide()
        return DeltaReport(
            path: out, virtualSize: image.size, actualSize: place.actualSize, backing: nameText(backing.name),
            backingFormat: backing.format, bytesChanged: result.changed, bytesWritten: result.stored)
    }

    /// What OUT calls BASE; says so where we would not open that.
    private func backingFile() throws(ImageError) -> [UInt8] {
        if let backingName { return backingName.nameBytes }
        let reference = try BackingReference(to: FilePath(text: base), from: FilePath(text: out))
        switch reference.reach {
        case .inside: break
        case .outside:
            Failure.say("\(base): is not in the folder of \(out); rblock and rblockfs read that with --allow-path")
        case .device:
            Failure.say("\(base): is a device; QEMU reads \(out), and rblock opens no device that an image names")
        }
        return reference.name
    }

    private func newImage(_ list: ImageOptionList, size: UInt64, over backing: NewBacking) throws -> NewImage {
        try usage { () throws(OptionFault) in
            var image = try NewImage(.qcow2, size: size, list)
            if compress != nil || level != nil { try image.compress(compress, level: level) }
            try image.setBacking(backing)
            try image.check()
            return image
        }
    }

    private func evidence(_ was: NamedDisk, _ now: NamedDisk) throws(ImageError) -> DiskDelta.Evidence {
        guard let fromBitmap else { return .base(was.image) }
        let (ranges, isEnabled) = try now.dirtyRanges(of: fromBitmap)
        if !isEnabled {
            Failure.say(
                "\(changed): bitmap \"\(fromBitmap)\" is disabled; what was written since it was is not in \(out)")
        }
        return .bitmap(ranges)
    }

    private func report(_ document: DeltaReport) throws {
        guard !new.quiet else { return }
        let output = StandardOutput()
        let name = "\(printable(document.path)): \(document.format) over \(printable(document.backing))"
        try output.write(
            lines: "\(name) (\(document.backingFormat)), \(humanSize(document.bytesChanged)) of "
                + "\(humanSize(document.virtualSize)) changed\(takenSpace(document.actualSize))\n")
        try output.flush()
    }
}
