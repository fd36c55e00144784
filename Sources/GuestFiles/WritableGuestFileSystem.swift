import BlockImage

/// A file system of a guest whose files are changed as well. What was changed is on the disk for sure when `synchronize` has returned.
/// Every method may be called from any thread.
public protocol WritableGuestFileSystem: GuestFileSystem {
    /// Makes a file called `name` in `directory`: of any kind but a link.
    func make(
        _ kind: GuestFileKind, called name: [UInt8], permissions: UInt16, in directory: GuestFileID
    ) throws(ImageError) -> GuestFileID

    /// Makes a symbolic link to `target`, called `name`, in `directory`.
    func makeLink(to target: [UInt8], called name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID

    /// Makes `file`, called `name`, in `directory`, with all that it is to have, which takes less time than one by one. Throws `system`
    /// with EEXIST where there is one called so; where another error comes, the file may have a part.
    func make(_ file: NewGuestFile, called name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID

    /// Gives `file` another name in `directory`: a hard link.
    func addName(_ name: [UInt8], to file: GuestFileID, in directory: GuestFileID) throws(ImageError)

    /// Writes `bytes` at `offset` of a regular file, which grows where that is past its end.
    func write(_ bytes: RawSpan, at offset: UInt64, to file: GuestFileID) throws(ImageError)

    /// Has a regular file end at `size`; what it grows by is a hole.
    func setSize(_ size: UInt64, of file: GuestFileID) throws(ImageError)

    /// The twelve bits of `GuestStatus.permissions`. Throws `system` for a link, which has none.
    func setPermissions(_ permissions: UInt16, of file: GuestFileID) throws(ImageError)

    /// Has a file belong to these; the kernel takes set-user-ID and set-group-ID away from it.
    func setOwner(user: UInt32, group: UInt32, of file: GuestFileID) throws(ImageError)

    /// Nil leaves a time as it is.
    func setTimes(accessed: FileTime?, modified: FileTime?, of file: GuestFileID) throws(ImageError)

    /// Sets an extended attribute, by its full name.
    func setAttribute(_ attribute: GuestAttribute, of file: GuestFileID) throws(ImageError)

    /// Removes an extended attribute, by its full name.
    func removeAttribute(_ name: [UInt8], of file: GuestFileID) throws(ImageError)

    /// Removes `name` from `directory`; a directory must be empty.
    func remove(_ name: [UInt8], in directory: GuestFileID) throws(ImageError)

    /// Has what is called `name` in `directory` be called `newName` in `newDirectory`, where it takes the place of what was called
    /// so.
    func rename(
        _ name: [UInt8], in directory: GuestFileID, to newName: [UInt8], in newDirectory: GuestFileID
    ) throws(ImageError)

    /// Returns when all that was changed before is on the disk.
    func synchronize() throws(ImageError)
}

/// A file that is made at once: no directory, and of no more than `contentLimit` bytes.
public struct NewGuestFile: Sendable {
    /// The most bytes of content.
    public static let contentLimit = 256 << 10

    public var kind: GuestFileKind
    /// Of a link.
    public var target: [UInt8]
    /// Of a regular file.
    public var content: [UInt8]
    /// The twelve bits; nil where the file system has none, and for a link.
    public var permissions: UInt16?
    /// Nil: those of new files.
    public var owner: (user: UInt32, group: UInt32)?
    public var attributes: [GuestAttribute]
    public var accessed: FileTime?
    public var modified: FileTime?

    /// An empty file of `kind`, with what new files have.
    public init(kind: GuestFileKind) {
        self.kind = kind
        (target, content, attributes) = ([], [], [])
    }
}
