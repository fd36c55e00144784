import ArgumentParser
import BlockImage
import Catalog
import FormatCore
import GuestFiles
import GuestKernel
import HostStorage
import ImageFormats

/// What is said to verbs that read files of guests.
struct GuestOptions: ParsableArguments {
    @OptionGroup var options: ImageOptions
    @OptionGroup var sharing: SharingOption
    @Flag(
        name: .customLong("ignore-changes"),
        help: "Go on where an image was written to while it was read, though the result may be a mixture.")
    var ignoreChanges = false
    // Without a short name: -p is something else for those who know cp(1) and mkdir(1).
    @Flag(
        help: ArgumentHelp(
            "Print how far it has got to standard error each second, where that is no terminal; JSON with --output json."
        ))
    var progress = false

    /// What reads file systems that this program does not.
    private static let helper = KernelHelper()

    /// The files of a guest, open.
    struct Opened {
        /// The place, as it was named.
        let text: String
        let place: GuestPlace
        let tree: GuestTree
        let disk: NamedDisk
    }

    /// Has progress printed, where that was asked for.
    func beginProgress(_ output: OutputForm) {
        if progress { ProgressBar.print(as: output == .json ? .json : .lines) }
    }

    /// What `text` means: an image alone is its root directory. Throws wrong usage for what is no file of a guest.
    func place(_ text: String) throws -> GuestPlace {
        if let place = GuestPlace(text) ?? GuestPlace(rootOf: text) { return place }
        throw Failure(
            "\(text): names no file of a guest, as disk.qcow2:/etc/hosts, or its image is not there", status: 64)
    }

    /// The disks of the image that `place` names, and the snapshot that is meant. Throws why it cannot be read.
    func disks(_ image: String) throws -> (disks: ImageDisks, disk: NamedDisk, id: DiskID) {
        let named = try options.image(image)
        let disks = ImageDisks(of: try named.open())
        let id = try named.find(in: disks)
        guard let (disk, opened) = disks.open(id) else { throw Failure("\(image): has no such disk") }
        let result = NamedDisk(image: try disk.result.get(), opened: opened, onNote: named.onNote)
        try sharing.checkUse(of: result.files)
        if named.containerPlace == nil { try GuestTarget.checkWhole(PathByName(named.path).location) }
        return (disks, result, id)
    }

    /// The volumes of the image `image` that may have file systems.
    func volumes(_ image: String) throws -> (volumes: [GuestVolume], disk: NamedDisk) {
        let (disks, disk, id) = try disks(image)
        if case .whole = id.part { return (disks.guestVolumes(of: id.snapshot, helper: Self.helper), disk) }
        let path = disk.opened.layers.first?.file.path ?? image
        return ([GuestVolume.only(disk.image, path: path, helper: Self.helper)], disk)
    }

    /// The files that `text` means. Says what people should know of how they are read.
    func open(_ text: String) throws -> Opened {
        let place = try place(text)
        let (volumes, disk) = try volumes(place.image)
        let tree = try GuestTree(place.selector, of: volumes, image: place.image)
        for note in tree.notes { Failure.warn("\(place.image): \(note)") }
        return Opened(text: text, place: place, tree: tree, disk: disk)
    }

    /// Does `body` with each of `files`, opened; what of one fails is said, by the closure that `body` gets or by what it throws, and
    /// the others are done all the same. Answers whether all was done. Of one alone, what it throws is a document as well.
    func forEach(
        _ files: [String], as output: OutputForm,
        _ body: (Opened, _ onError: @escaping (ImageError) -> Void) throws -> Void
    ) throws -> Bool {
        beginProgress(output)
        var isDone = true
        for file in files {
            do {
                try Failure.reported(as: files.count == 1 ? output : .human, filename: file) {
                    let opened = try open(file)
                    try body(opened) { error in
                        Failure.say(error.description)
                        isDone = false
                    }
                    try sharing.checkUnchanged(opened.disk, ignoresChanges: ignoreChanges)
                }
            } catch let error as ExitCode {
                guard files.count > 1, error.rawValue == 1 else { throw error }
                isDone = false
            }
        }
        return isDone
    }
}
