/// A name of another file, as it stands in an image.
public struct FileReference: Hashable, Sendable {
    /// What the named file is to the image, as messages say it.
    public enum Role: String, Sendable {
        /// The image under a QCOW2 overlay.
        case backing = "backing file"
        /// The image under a VMDK delta.
        case parent = "parent"
        /// A file that holds a part of a VMDK disk.
        case extent = "extent"
        /// The file that holds a QCOW2 image's clusters.
        case dataFile = "data file"
        /// A later part of an image that lies in several files of one name.
        case segment
        /// A file beside a part of a VMDK disk that may be its descriptor.
        case descriptor
        /// An image in the same folder, which the image does not name: it may hold a part of a volume that lies on both.
        case neighbour
    }

    /// Which folder a relative name begins in.
    public enum Folder: Hashable, Sendable {
        /// That of the name by which the image was opened, which may be a link: there QEMU looks.
        case ofName
        /// That of the image's file, where links led.
        case ofFile
    }

    /// The name's bytes as the image has them: a file system's names need not be UTF-8.
    public var name: [UInt8]
    /// What the file is to the image.
    public var role: Role
    /// Where it begins, if it is relative.
    public var folder: Folder

    /// The file `name`, which is the image's `role`, and begins in `folder` if it is relative.
    public init(_ name: [UInt8], role: Role, in folder: Folder = .ofName) {
        self.name = name
        self.role = role
        self.folder = folder
    }

    /// The name for people, with what is not UTF-8 replaced.
    public var text: String { String(decoding: name, as: UTF8.self) }
}

/// Decides which files an image may make this process open. The only way to a file that an image names.
public protocol OpenPolicy: Sendable {
    /// Opens the file that the image in `file` names; a relative name is looked for in the reference's folder.
    ///
    /// Throws `denied` for a name that the image may not use, and `system` when the file cannot be opened; both errors
    /// are about the naming file, and say which name it was.
    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile

    /// Whether there is something that `reference`, which may be one that `open` denies, leads to. Opens nothing.
    func isThere(_ reference: FileReference, namedBy file: any HostFile) -> Bool

    /// The names in the folder of `file`, for images whose writers did not tell `a` from `A` in a name. What they lead
    /// to is not looked at. Empty where the image in `file` may name nothing, or its folder cannot be listed.
    func names(besides file: any HostFile) -> [[UInt8]]

    /// The same of the folder that `reference`, as the image in `file` would name it, leads to; an empty name is its own.
    func names(in reference: FileReference, besides file: any HostFile) -> [[UInt8]]

    /// The state of that folder, by which it is seen that a name in it came or went; nil where nothing tells, as of one that
    /// was changed just now, and may be once more without another time.
    func stamp(ofFolder reference: FileReference, besides file: any HostFile) -> FolderStamp?
}

extension OpenPolicy {
    /// For policies that look at nothing but what they open.
    public func isThere(_ reference: FileReference, namedBy file: any HostFile) -> Bool { false }

    /// For policies that know of no folders: no names.
    public func names(besides file: any HostFile) -> [[UInt8]] { [] }

    /// For policies that know of no folders but that of the image.
    public func names(in reference: FileReference, besides file: any HostFile) -> [[UInt8]] {
        reference.name.isEmpty ? names(besides: file) : []
    }

    /// For policies that know of no folders: nothing tells.
    public func stamp(ofFolder reference: FileReference, besides file: any HostFile) -> FolderStamp? { nil }
}
