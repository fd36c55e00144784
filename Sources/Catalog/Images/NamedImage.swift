import BlockImage
import FormatCore
import Glibc
import HostStorage
import ImageFormats
import SystemPackage

/// An image as a person names it to a command, and how it is to be opened.
package struct NamedImage: Sendable {
    /// The file, as it was named. Links are followed: it was named, not found.
    package var path: FilePath
    /// Where it was found rather than named, what may be opened there: then it is no device, and a link that leads
    /// elsewhere is refused. `allowed` is part of it.
    package var confines: ConfinedOpenPolicy?
    /// The containers that are open.
    package var containers = OpenContainers()
    /// Its format; nil: its name says it, else its content. One that is found by its content may name no other file,
    /// since a guest can write whatever it likes to the start of a raw disk.
    package var format: ImageFormat?
    /// Folders, besides its own, whose files it may name.
    package var allowed: [FilePath] = []
    /// The image that lies under it, in place of the one that it names; its folder may be named as the image's own is.
    package var backing: FilePath?
    /// Gets what people should know at once of the files that were opened.
    package var onNote: (@Sendable (String) -> Void)?
    /// How it is opened, but for what `format` and `backing` say.
    package var options = OpeningOptions()
    /// Which of the disks that it holds is meant.
    package var place = DiskPlace()

    /// The image at `path`, with nothing else asked for.
    package init(_ path: FilePath, format: ImageFormat? = nil) {
        self.path = path
        self.format = format
    }

    /// Opens it with its chain. Throws where its own file cannot be opened; what else is wrong is in the answer.
    ///
    /// A block device is what its content says unless `format` says otherwise. That holds for what a person names: a
    /// device that an image names is never opened.
    package func open(
        resources: LayerResources = LayerResources(), counters: ReadCounters = ReadCounters()
    ) throws(ImageError) -> OpenedImage {
        let own = try openFile()
        var opener = ImageOpener(policy: own.policy, resources: resources, options: options)
        opener.options.isFormatSaid = format != nil
        opener.options.backing = try givenBacking()
        let opened = opener.open(own.file, as: format ?? own.formatOfName, counters: counters)
        try checkBacking(of: opened)
        if let onNote {
            for note in opened.layers.flatMap({ $0.contentWarnings + $0.nameNotes }) { onNote(note.description) }
        }
        return opened
    }

    /// The file of an image, without those that it names.
    package struct OwnFile {
        package let file: any HostFile
        /// Opens the files that it names.
        package let policy: any OpenPolicy
        /// The format that its name says; nil where it says none, as that of a device.
        package let formatOfName: ImageFormat?
    }

    /// Opens its own file, and nothing that it names.
    package func openFile() throws(ImageError) -> OwnFile {
        if let place = containerPlace { return try openDisk(place) }
        if let confines {
            return OwnFile(
                file: try confines.openImage(at: path), policy: confines, formatOfName: Self.format(of: path))
        }
        let name = try PathByName(path)
        let location = name.location
        let policy = try ConfinedOpenPolicy(
            images: location.removingLastComponent(), allowed: name.folders + (try backingFolders()) + allowed,
            checksAdvice: true)
        switch try Self.kind(of: location) {
        case .regular:
            return OwnFile(
                file: try policy.openImage(at: name.path), policy: policy,
                formatOfName: Self.format(of: name.path) ?? Self.format(of: location))
        case .blockDevice:
            return OwnFile(file: try DeviceFile(at: location), policy: policy, formatOfName: nil)
        case let kind:
            throw kind.refusal(at: location)
        }
    }

    private static func kind(of location: FilePath) throws(ImageError) -> FileStatus.Kind {
        do throws(Errno) {
            return try FileStatus(at: location).kind
        } catch {
            throw ImageError(.system(errno: error.rawValue), path: location.text, "\(error)")
        }
    }

    /// Opens its own file and no other: its first layer is described as far as that file says it, and there is a disk
    /// where that takes neither extents nor a data file, without what a backing file has of it. `error`: what is wrong
    /// with the file itself; `wasProbed`: whether only its content said the format; `notes`: what people should know of
    /// that. Throws where the file cannot be opened, and for what is no image by its content.
    package func openAlone() throws(ImageError) -> (
        image: OpenedImage, error: ImageError?, wasProbed: Bool, notes: [ErrorText]
    ) {
        let own = try openFile()
        let named = format ?? own.formatOfName
        let found = named == nil ? try Recognition(own.file, named: nil) : nil
        let policy = NoFilesOpened(besides: own.policy)
        let resources = LayerResources()
        var opener = ImageOpener(policy: policy, resources: resources, options: options)
        opener.options.deepest = 0
        // What was found by the content is not looked for again: then the image could name no file.
        opener.options.isFormatSaid = format != nil || found != nil
        let opened = opener.open(own.file, as: named ?? found?.format, counters: resources.counters)
        return (opened, policy.wasAsked ? nil : opened.disk.error, named == nil, found?.notes ?? [])
    }

    private static func format(of location: FilePath) -> ImageFormat? {
        let name = location.lastComponent.map { FilePath(root: nil, [$0]).bytes } ?? []
        if case .format(let format)? = ImageFormat.naming(of: name) { return format }
        return nil
    }
}

/// The policy for looking at one file and at no other, but for descriptors that may say what it is a part of.
private final class NoFilesOpened: OpenPolicy {
    private let asked = Guarded(false)
    private let policy: any OpenPolicy

    init(besides policy: any OpenPolicy) {
        self.policy = policy
    }

    /// Whether the image named another file.
    var wasAsked: Bool { asked.withLock { $0 } }

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        // Segments are the image itself.
        if reference.role == .descriptor || reference.role == .segment {
            return try policy.open(reference, namedBy: file)
        }
        asked.withLock { $0 = true }
        throw ImageError(
            .denied, path: file.path, "\(reference.role.rawValue) \"\(path: reference.text)\": is not looked at")
    }

    func names(besides file: any HostFile) -> [[UInt8]] { policy.names(besides: file) }
}

extension NamedImage {
    /// The image that is to lie under this one by a person's word; nil where that was not said.
    func givenBacking() throws(ImageError) -> OpeningOptions.GivenBacking? {
        guard let backing else { return nil }
        let own = try NamedImage(backing).openFile()
        return OpeningOptions.GivenBacking(own.file, format: own.formatOfName)
    }

    /// The folders whose files that image may name.
    func backingFolders() throws(ImageError) -> [FilePath] {
        guard let backing else { return [] }
        let name = try PathByName(NamedImage(backing).containerPlace?.archive ?? backing)
        return [name.location.removingLastComponent()] + name.folders
    }

    /// Throws where an image was given to lie under one that has no place for it.
    func checkBacking(of opened: OpenedImage) throws(ImageError) {
        guard backing != nil, let top = opened.layers.first else { return }
        // Of one that could not be described, that is the error.
        guard let image = top.image, image.backing == nil else { return }
        throw ImageError(
            .unsupported, path: top.file.path,
            "names no backing file and no parent, so that none can be given in its place\(hint: " (--backing)")")
    }
}
