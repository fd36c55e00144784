import BlockImage
import SystemPackage

/// Where a new image goes that a person named: to files of a folder, or to a block device. Used by one thread at a time.
public protocol ImageDestination: NewFiles {
    /// The name of the image's own file, for `file(named:)`.
    var imageName: String { get }

    /// The bytes that what was put in its place takes on the host; nil before that, and for a device.
    var actualSize: UInt64? { get }

    /// Puts what was written in its place; to be called once, when all of it was written. Throws `system` when the host
    /// cannot; then there is nothing, but on a device.
    func place() throws(ImageError)
}

/// How a new image is written to its place.
public struct DestinationOptions: Sendable {
    /// Whether it may replace what is there.
    public var replaces = false
    /// Whether it is on the disk, and not only on its way to it, when it is in its place.
    public var isFlushed = true
    /// Whether a device is known to have zeros wherever nothing is written.
    public var isZero = false
    /// What is made, for messages.
    public var what = "image"
    /// The files that must stay as they are: those that the image is made of.
    public var sources: Set<FileIdentity> = []

    /// Nothing is replaced, and all is flushed.
    public init() {}
}

/// The place `path` of a new image: a block device, or else a file that there is not, or that is to be replaced.
///
/// A link is followed: the image takes the place of what it leads to. Throws `denied` for what is neither, or is one of
/// the sources, and `system` with EEXIST for what must not be replaced; nothing is written yet.
public func imageDestination(at path: FilePath, _ options: DestinationOptions) throws(ImageError)
    -> any ImageDestination
{
    if let location = try? canonical(path), case .blockDevice? = try? FileStatus(at: location).kind {
        return try DeviceDestination(at: location, options)
    }
    return try FolderDestination(at: path, options)
}
