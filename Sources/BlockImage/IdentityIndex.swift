/// One state of a folder.
public struct FolderStamp: Hashable, Sendable {
    /// Which folder it is.
    public var identity: FileIdentity
    /// When a name in it last came, went or changed.
    public var modified: FileTime

    /// The folder `identity`, as it has been since `modified`.
    public init(_ identity: FileIdentity, modified: FileTime) {
        self.identity = identity
        self.modified = modified
    }
}

/// Which names of folders lead to images with which identities, as long as the folders stay as they were: so a folder of a
/// thousand images that lie over one another is not looked through a thousand times. What is in the files may change
/// meanwhile: it is looked at before it is believed. Every method may be called from any thread.
public final class IdentityIndex: Sendable {
    /// The most names that are kept, of all folders together. What they take is some 200 bytes each.
    public static let nameLimit = 1 << 16

    /// The names of one folder, by what is in their files.
    public typealias Names = [ImageIdentity: [[UInt8]]]

    private struct Contents {
        var folders: [FileIdentity: (modified: FileTime, names: Names)] = [:]
        var nameCount = 0
    }

    private let contents = Guarded(Contents())

    /// Of no folder.
    public init() {}

    /// What is known of the folder in the state `stamp`; nil for nothing.
    public func names(in stamp: FolderStamp) -> Names? {
        contents.withLock { contents in
            guard let known = contents.folders[stamp.identity], known.modified == stamp.modified else { return nil }
            return known.names
        }
    }

    /// Keeps that the folder in the state `stamp` has `names`. Others are forgotten where there would be too many.
    public func keep(_ names: Names, of stamp: FolderStamp) {
        let count = names.values.reduce(1) { $0 + $1.count }
        guard count <= Self.nameLimit else { return }
        contents.withLock { contents in
            if let old = contents.folders.removeValue(forKey: stamp.identity) {
                contents.nameCount -= old.names.values.reduce(1) { $0 + $1.count }
            }
            if contents.nameCount + count > Self.nameLimit { contents = Contents() }
            contents.folders[stamp.identity] = (stamp.modified, names)
            contents.nameCount += count
        }
    }
}
