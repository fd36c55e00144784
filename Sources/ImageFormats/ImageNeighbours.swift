import BlockImage
import FormatCore

/// The other images in the folder of one that is open: they may hold parts of what its guest has on several disks. They are
/// opened as images of their own, by their own names, and by the same policy. May be used from any thread.
public struct ImageNeighbours: Sendable {
    private let opener: ImageOpener
    private let file: any HostFile

    init(of file: any HostFile, opener: ImageOpener) {
        self.file = file
        // Everything else that a person said was of that one image.
        var opener = opener
        let said = opener.options
        opener.options = OpeningOptions()
        opener.options.keys = said.keys
        opener.options.ignoresParentID = said.ignoresParentID
        self.opener = opener
    }

    /// The names that call their files images, that of the image itself among them.
    public var names: [[UInt8]] {
        opener.policy.names(besides: file).filter { ImageFormat.naming(of: $0) != nil }
    }

    /// The file called `name`, opened. Throws why it cannot be.
    public func file(called name: [UInt8]) throws(ImageError) -> any HostFile {
        try opener.policy.open(FileReference(name, role: .neighbour), namedBy: file)
    }

    /// The image in `file`, which is the one called `name`.
    public func open(_ file: any HostFile, called name: [UInt8]) -> OpenedImage {
        var format: ImageFormat?
        if case .format(let named)? = ImageFormat.naming(of: name) { format = named }
        return opener.open(file, as: format, counters: ReadCounters())
    }
}
