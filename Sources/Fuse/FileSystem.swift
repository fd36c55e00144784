/// What a mount shows. Every method may be called on any thread, several at once. It answers its reply, or keeps it for
/// another of them to answer before that one returns; one that is dropped answers EIO. Names are bytes, without "/" and
/// NUL.
///
/// Only the bytes of files can be written, where `isWritable` says so: `Session` answers every other operation that would
/// change something with EROFS.
public protocol FileSystem: AnyObject, Sendable {
    /// Whether files can be written; otherwise the mount is read-only. Stays as it is. By default false.
    var isWritable: Bool { get }

    /// The kernel has finished the handshake: the mount will answer. Called once, on the thread of `Session.run`,
    /// before the first request is served; it must not touch the mount. Files that the kernel shall read by itself are
    /// registered with `passthrough`. By default does nothing.
    ///
    /// `cache` is what the kernel keeps of files, for a file system that must have it forgotten.
    func started(_ passthrough: Passthrough, _ cache: KernelCache)
    /// The server has given up what it gives up, and begins to serve: from here on threads may be started.
    func serving()

    /// Finds a name, of up to 1,024 bytes, in a directory. An entry that is answered makes the kernel count one reference to its inode.
    func lookup(_ name: [UInt8], in parent: Inode, reply: consuming EntryReply)

    /// The kernel gives up `count` references to an inode. At unmount they are not given up. By default does nothing.
    func forget(_ inode: Inode, count: UInt64)

    /// Tells what `stat` shows.
    func attributes(of inode: Inode, reply: consuming AttributesReply)

    /// Tells where a link leads. By default answers EINVAL.
    func linkTarget(of inode: Inode, reply: consuming LinkReply)

    /// Opens a file. `forWriting` says that the caller also asked to write: answer EROFS where that cannot be. `pastCache`: it
    /// asked for reads past the page cache (O_DIRECT).
    func open(_ inode: Inode, forWriting: Bool, pastCache: Bool, reply: consuming OpenReply)

    /// Reads `count` bytes at `offset`, fewer only at the end of the file: the kernel fills up with zeros.
    func read(_ inode: Inode, handle: FileHandle, count: Int, at offset: UInt64, reply: consuming DataReply)

    /// Writes all of `bytes` at `offset`. They are valid until this returns. `isPage`: the kernel writes pages that mapped memory
    /// has changed, and holds them until it is answered. By default answers EROFS.
    func write(
        _ bytes: RawSpan, at offset: UInt64, isPage: Bool, _ inode: Inode, handle: FileHandle,
        reply: consuming WriteReply)

    /// Has the `count` bytes at `offset` read as zeros (fallocate). By default answers EROFS.
    func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, _ inode: Inode, handle: FileHandle,
        reply: consuming DoneReply)

    /// Has what was written to a file be on stable storage (fsync). By default answers that it is.
    func synchronize(_ inode: Inode, handle: FileHandle, reply: consuming DoneReply)

    /// Has what was written to all files be on stable storage (fsync of a directory). By default answers that it is.
    func synchronizeAll(reply: consuming DoneReply)

    /// A descriptor of the file is closed; what is answered is what close(2) says. By default does nothing.
    func flush(_ inode: Inode, handle: FileHandle, reply: consuming DoneReply)

    /// Makes a file `size` bytes long. By default answers EROFS.
    func resize(_ inode: Inode, to size: UInt64, reply: consuming AttributesReply)

    /// The last descriptor of an open file is gone: its handle will not be seen again. What is open when the mount
    /// ends is not closed.
    func close(_ inode: Inode, handle: FileHandle)

    /// Opens a directory.
    func openDirectory(_ inode: Inode, reply: consuming OpenReply)

    /// Lists a directory from `position`: 0 is its start, anything else a `nextPosition` that was answered earlier.
    func readDirectory(
        _ inode: Inode,
        handle: FileHandle,
        from position: UInt64,
        reply: consuming DirectoryReply
    )

    /// The last descriptor of an open directory is gone. What is open when the mount ends is not closed.
    func closeDirectory(_ inode: Inode, handle: FileHandle)

    /// Finds the next data or hole. At or past the end of the file, or without data before it, answer ENXIO.
    func seek(
        _ inode: Inode,
        handle: FileHandle,
        from offset: UInt64,
        to target: SeekTarget,
        reply: consuming SeekReply
    )

    /// Tells what `df` shows of the whole mount.
    func statistics(reply: consuming StatisticsReply)

    /// Tells what `df` shows when it is asked about one file or directory. By default the same as of the whole mount.
    func statistics(of inode: Inode, reply: consuming StatisticsReply)

    /// Reads an extended attribute, such as "user.format". Where there is none of that name, answer ENODATA, as is done
    /// by default.
    func extendedAttribute(_ name: [UInt8], of inode: Inode, reply: consuming ExtendedAttributeReply)

    /// Lists the names of the extended attributes. By default there are none.
    func extendedAttributeNames(of inode: Inode, reply: consuming ExtendedAttributeNamesReply)
}

extension FileSystem {
    /// Nothing can be written.
    public var isWritable: Bool { false }

    /// Does nothing.
    public func started(_ passthrough: Passthrough, _ cache: KernelCache) {}

    /// Does nothing.
    public func serving() {}

    /// Does nothing: for a file system whose inodes stay.
    public func forget(_ inode: Inode, count: UInt64) {}

    /// Answers EROFS.
    public func write(
        _ bytes: RawSpan, at offset: UInt64, isPage: Bool, _ inode: Inode, handle: FileHandle,
        reply: consuming WriteReply
    ) {
        reply.failure(.readOnlyFileSystem)
    }

    /// Answers EROFS.
    public func zero(
        _ count: UInt64, at offset: UInt64, _ way: ZeroingWay, _ inode: Inode, handle: FileHandle,
        reply: consuming DoneReply
    ) {
        reply.failure(.readOnlyFileSystem)
    }

    /// Answers that it is: for a file system without files that can be written.
    public func synchronize(_ inode: Inode, handle: FileHandle, reply: consuming DoneReply) { reply.done() }

    /// Answers that it is: for a file system without files that can be written.
    public func synchronizeAll(reply: consuming DoneReply) { reply.done() }

    /// Does nothing.
    public func flush(_ inode: Inode, handle: FileHandle, reply: consuming DoneReply) { reply.done() }

    /// Answers EROFS.
    public func resize(_ inode: Inode, to size: UInt64, reply: consuming AttributesReply) {
        reply.failure(.readOnlyFileSystem)
    }

    /// Answers EINVAL: for a file system without links.
    public func linkTarget(of inode: Inode, reply: consuming LinkReply) {
        reply.failure(.invalidArgument)
    }

    /// Tells of the whole mount.
    public func statistics(of inode: Inode, reply: consuming StatisticsReply) {
        statistics(reply: reply)
    }

    /// Answers ENODATA: for a file system without extended attributes.
    public func extendedAttribute(_ name: [UInt8], of inode: Inode, reply: consuming ExtendedAttributeReply) {
        reply.failure(.noData)
    }

    /// Answers that there are none.
    public func extendedAttributeNames(of inode: Inode, reply: consuming ExtendedAttributeNamesReply) {
        reply.names([])
    }
}
