import BlockImage
import Encryption

/// What an image may use while it is made ready to read. May be used from any thread.
public struct LayerServices: Sendable {
    /// Opens the files that the image names.
    public let policy: any OpenPolicy
    /// The passphrases of encrypted images.
    public let keys: ImageKeys
    /// The caches that layers share, and where the image counts what it does.
    public let resources: LayerResources
    /// The images that it lies under, itself among them: a name that is found by searching must not lead back to one.
    public let above: Set<FileIdentity>
    /// Whether files are searched for where they are not under the name that the image has.
    public let isSearching: Bool

    /// The services for an image that lies under `above`. `isSearching`: whether its names are searched for, also where they
    /// are not what it says.
    public init(
        policy: any OpenPolicy, keys: ImageKeys, resources: LayerResources, above: Set<FileIdentity>, isSearching: Bool
    ) {
        self.policy = policy
        self.keys = keys
        self.resources = resources
        self.above = above
        self.isSearching = isSearching
    }

    /// Opens what the image in `file` calls `name`, and adds what people should know of that to `notes`. Throws what
    /// `FileSearch.open` throws.
    public func find(
        _ name: SoughtName, as role: FileReference.Role, for file: any HostFile, notes: inout [ErrorText]
    ) throws(ImageError) -> any HostFile {
        if !isSearching, let stored = name.candidates.first {
            return try policy.open(FileReference(stored.name, role: role), namedBy: file)
        }
        var search = FileSearch(of: file, policy: policy, above: above)
        defer { notes += search.notes }
        return try search.open(name, as: role)
    }
}

/// The image that another one lies over, as that one calls it.
public struct BackingName: Sendable {
    /// The bytes of the name in the image; none where it names it by its identity alone.
    public var bytes: [UInt8]
    /// What it is looked for by.
    public var sought: SoughtName
    /// What it is to the image.
    public var role: FileReference.Role
    /// Its format, where the image says it, by the name that it has there.
    public var storedFormat: String?
    /// Its format where neither the image nor the name says one; nil: its content decides.
    public var usualFormat: String?
    /// What it calls itself, where the image says that: an image with this identity in the folder of this one, whatever it is
    /// called there, goes before what the name leads to.
    public var identity: ImageIdentity?
    /// Where else than beside the image one with this identity is looked for, after that: names of folders relative to its own.
    public var folders: [[UInt8]] = []

    /// The image that is stored as `bytes`, looked for as `sought`.
    public init(
        bytes: [UInt8], sought: SoughtName, role: FileReference.Role, storedFormat: String? = nil,
        usualFormat: String? = nil, identity: ImageIdentity? = nil, folders: [[UInt8]] = []
    ) {
        self.bytes = bytes
        self.sought = sought
        self.role = role
        self.storedFormat = storedFormat
        self.usualFormat = usualFormat
        self.identity = identity
        self.folders = folders
    }
}

/// That an image may not be the one that another was made over.
public struct BackingFault: Sendable {
    /// What is wrong.
    public var message: ErrorText
    /// Where the upper image says what it wants; nil where that is no place of its file.
    public var offset: HostOffset?
    /// Whether it is known to be another; otherwise nothing tells.
    public var isKnown: Bool
    /// What there is to do about it; nil where nothing helps but to ignore it.
    public var hint: String?

    /// The fault `message`, about the place `offset` of the upper image.
    public init(_ message: ErrorText, at offset: HostOffset?, isKnown: Bool, hint: String? = nil) {
        self.hint = hint
        self.message = message
        self.offset = offset
        self.isKnown = isKnown
    }
}
