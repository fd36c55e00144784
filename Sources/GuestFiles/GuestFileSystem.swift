import BlockImage

/// A file system of a guest, whose files are read from a disk: no kernel has it mounted, and nothing is ever written. Every
/// method may be called from any thread.
///
/// What a journal has is replayed in memory: the files are those that the kernel would show after it had mounted the file system.
/// A reader that cannot do so says that in `notes`, and does not show older files in their place without a word.
public protocol GuestFileSystem: Sendable {
    /// What it says of itself.
    var info: GuestFileSystemInfo { get }
    /// What people should know of what is read, in sentences: as that a journal was replayed, or that there are more than one
    /// truth. Grows while it is read.
    var notes: [ErrorText] { get }
    /// Its topmost directory.
    var root: GuestFileID { get }

    /// How much it holds. Throws what reading throws.
    func usage() throws(ImageError) -> GuestUsage

    /// What is known of a file. Throws `corrupt` for what is none, and what reading throws.
    func status(of file: GuestFileID) throws(ImageError) -> GuestStatus

    /// Gives `body` each entry of `directory`, in the order in which they are stored, without "." and "..". `body` answers false
    /// where no more are wanted.
    ///
    /// Throws `corrupt` for what is no directory, or damaged; what comes before the damage was given by then.
    func list(
        _ directory: GuestFileID, _ body: (GuestEntry) throws(ImageError) -> Bool
    ) throws(ImageError)

    /// The file that is called `name` in `directory`; nil where there is none. A file system that does not tell `a` from `A`
    /// finds either.
    func find(_ name: [UInt8], in directory: GuestFileID) throws(ImageError) -> GuestFileID?

    /// The content of a regular file. Throws `unsupported` for one that is encrypted.
    func open(_ file: GuestFileID) throws(ImageError) -> any GuestFileContent

    /// The path that a symbolic link has, without NUL; at most 4,095 bytes.
    func target(ofLink file: GuestFileID) throws(ImageError) -> [UInt8]

    /// The extended attributes of a file, with full names (`user.x`, `security.selinux`), in the order in which they are stored.
    func extendedAttributes(of file: GuestFileID) throws(ImageError) -> [GuestAttribute]
}

/// The content of one regular file. Every method may be called from any thread.
public protocol GuestFileContent: Sendable {
    /// Its bytes.
    var size: UInt64 { get }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them. Holes are zeros. Throws
    /// `outOfRange` past the end of the file.
    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError)

    /// What is at `offset`, below `size`: whether it is stored, and how many bytes from there on are the same way, at most `limit`
    /// and to the end of the file.
    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> GuestRun
}

/// Bytes of a file that are all stored, or all a hole.
public struct GuestRun: Hashable, Sendable {
    /// Whether they are stored; those of a hole are zeros, as are those that were only allocated.
    public var isData: Bool
    /// How many there are; never 0.
    public var count: UInt64

    /// `count` bytes.
    public init(isData: Bool, count: UInt64) {
        (self.isData, self.count) = (isData, count)
    }
}

/// One file of a guest file system, by its number there; unique while the file system is open.
public struct GuestFileID: Hashable, Sendable {
    /// The number: that of the inode, where the file system has inodes.
    public var number: UInt64

    /// The file with the number `number`.
    public init(_ number: UInt64) { self.number = number }
}
