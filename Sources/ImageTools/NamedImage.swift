public import BlockImage
import HostStorage
public import ImageFormats
public import SystemPackage

/// An image as a person names it to a command, and how it is to be opened.
public struct NamedImage: Sendable {
    /// The file, as it was named. Links are followed: it was named, not found.
    public var path: FilePath
    /// Its format; nil: its name says it, else its content. One that is found by its content may name no other file,
    /// since a guest can write whatever it likes to the start of a raw disk.
    public var format: ImageFormat?
    /// Folders, besides its own, whose files it may name.
    public var allowed: [FilePath] = []
    /// The passphrases of encrypted images.
    public var keys = ImageKeys()
    /// Whether a VMDK delta is read although its parent was changed after it was made.
    public var ignoresCID = false
    /// The name, or else the ID, of the internal snapshot whose disk is meant; nil: the current disk.
    public var snapshot: String?

    /// The image at `path`, with nothing else asked for.
    public init(_ path: FilePath, format: ImageFormat? = nil) {
        self.path = path
        self.format = format
    }

    /// Opens it with its chain. Throws where its own file cannot be opened; what else is wrong is in the answer.
    public func open(
        resources: LayerResources = LayerResources(), counters: ReadCounters = ReadCounters()
    ) throws(ImageError) -> OpenedImage {
        let location = try canonical(path)
        let policy = try ConfinedOpenPolicy(images: location.removingLastComponent(), allowed: allowed)
        let opener = ImageOpener(policy: policy, keys: keys, resources: resources, ignoresCID: ignoresCID)
        return opener.open(
            try policy.openImage(at: location), as: format ?? Self.format(of: location), counters: counters)
    }

    /// The disk that is meant. Throws why it cannot be read, or that there is no such snapshot.
    public func disk(resources: LayerResources = LayerResources()) throws(ImageError) -> Image {
        let opened = try open(resources: resources)
        guard let snapshot else { return try opened.disk.result.get() }
        _ = try opened.disk.result.get()
        let found =
            opened.snapshots.firstIndex { $0.name == snapshot } ?? opened.snapshots.firstIndex { $0.id == snapshot }
        guard let index = found, let disk = opened.snapshotDisk(index)
        else {
            throw ImageError(.outOfRange, path: String(decoding: path), "has no snapshot \"\(snapshot)\"")
        }
        return try disk.result.get()
    }

    private static func format(of location: FilePath) -> ImageFormat? {
        let name = location.lastComponent.map { FilePath(root: nil, [$0]).bytes } ?? []
        if case .format(let format)? = ImageFormat.naming(of: name) { return format }
        return nil
    }
}
