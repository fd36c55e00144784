internal import CFuse3
import Glibc

// libfuse's callbacks. They are functions that capture nothing: the file system is found through the request.

/// What libfuse keeps a bare pointer to.
final class FileSystemBox: Sendable {
    let fileSystem: any FileSystem

    init(_ fileSystem: any FileSystem) {
        self.fileSystem = fileSystem
    }
}

/// The table of callbacks. Where nothing can be written, `flush` and `fsync` are left out: libfuse answers ENOSYS and the kernel
/// stops asking.
func makeOperations(isWritable: Bool) -> fuse_lowlevel_ops {
    var operations = fuse_lowlevel_ops()
    unsafe cfuse3_refuse_writes(&operations)
    unsafe operations.`init` = cfuse3_negotiate
    unsafe operations.lookup = lookup
    unsafe operations.forget = forget
    unsafe operations.getattr = getAttributes
    unsafe operations.readlink = readLink
    unsafe operations.open = open
    unsafe operations.read = read
    unsafe operations.release = release
    unsafe operations.opendir = openDirectory
    unsafe operations.readdir = readDirectory
    unsafe operations.releasedir = releaseDirectory
    unsafe operations.lseek = seek
    unsafe operations.statfs = statistics
    unsafe operations.getxattr = getExtendedAttribute
    unsafe operations.listxattr = listExtendedAttributes
    if isWritable { operations.allowWriting() }
    return operations
}

func fileSystem(of request: fuse_req_t) -> any FileSystem {
    // Safe: the user data is the connection that `Session` made, with the box; it keeps both until it has destroyed the
    // libfuse session.
    let connection = unsafe fuse_req_userdata(request).assumingMemoryBound(to: cfuse3_connection.self)
    return unsafe Unmanaged<FileSystemBox>.fromOpaque(connection.pointee.file_system).takeUnretainedValue().fileSystem
}

// Safe, in all that follow: libfuse passes a live request, and pointers that are valid until the callback returns.

private func lookup(_ request: fuse_req_t!, _ parent: fuse_ino_t, _ name: UnsafePointer<CChar>!) {
    let name = unsafe UnsafeRawBufferPointer(start: name, count: strlen(name))
    let reply = unsafe EntryReply(request: Request(request))
    unsafe fileSystem(of: request).lookup(Array(name), in: Inode(rawValue: parent), reply: reply)
}

private func forget(_ request: fuse_req_t!, _ inode: fuse_ino_t, _ count: UInt64) {
    unsafe fileSystem(of: request).forget(Inode(rawValue: inode), count: count)
    unsafe fuse_reply_none(request)
}

private func getAttributes(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ info: UnsafeMutablePointer<fuse_file_info>?
) {
    unsafe fileSystem(of: request).attributes(
        of: Inode(rawValue: inode),
        reply: AttributesReply(request: Request(request))
    )
}

private func readLink(_ request: fuse_req_t!, _ inode: fuse_ino_t) {
    unsafe fileSystem(of: request).linkTarget(
        of: Inode(rawValue: inode),
        reply: LinkReply(request: Request(request))
    )
}

private func open(_ request: fuse_req_t!, _ inode: fuse_ino_t, _ info: UnsafeMutablePointer<fuse_file_info>!) {
    let flags = unsafe info.pointee.flags
    unsafe fileSystem(of: request).open(
        Inode(rawValue: inode),
        forWriting: flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0,
        pastCache: unsafe cfuse3_is_direct(info) != 0,
        reply: OpenReply(request: Request(request))
    )
}

private func read(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ count: Int,
    _ offset: off_t,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).read(
        Inode(rawValue: inode),
        handle: FileHandle(rawValue: info.pointee.fh),
        count: count,
        at: UInt64(UInt(bitPattern: offset)),
        reply: DataReply(request: Request(request))
    )
}

private func release(_ request: fuse_req_t!, _ inode: fuse_ino_t, _ info: UnsafeMutablePointer<fuse_file_info>!) {
    let handle = unsafe FileHandle(rawValue: info.pointee.fh)
    let fileSystem = unsafe fileSystem(of: request)
    // The answer ends the request; closing may take longer.
    unsafe _ = fuse_reply_err(request, 0)
    fileSystem.close(Inode(rawValue: inode), handle: handle)
}

private func openDirectory(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).openDirectory(
        Inode(rawValue: inode),
        reply: OpenReply(request: Request(request))
    )
}

private func readDirectory(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ capacity: Int,
    _ position: off_t,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).readDirectory(
        Inode(rawValue: inode),
        handle: FileHandle(rawValue: info.pointee.fh),
        from: UInt64(UInt(bitPattern: position)),
        reply: DirectoryReply(request: Request(request), capacity: capacity)
    )
}

private func releaseDirectory(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).closeDirectory(
        Inode(rawValue: inode),
        handle: FileHandle(rawValue: info.pointee.fh)
    )
    unsafe _ = fuse_reply_err(request, 0)
}

private func seek(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ offset: off_t,
    _ whence: CInt,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    let reply = unsafe SeekReply(request: Request(request))
    let target: SeekTarget
    switch whence {
    case 3: target = .data  // SEEK_DATA and SEEK_HOLE, which Swift's Glibc does not show
    case 4: target = .hole
    default: return reply.failure(.invalidArgument)
    }
    unsafe fileSystem(of: request).seek(
        Inode(rawValue: inode),
        handle: FileHandle(rawValue: info.pointee.fh),
        from: UInt64(UInt(bitPattern: offset)),
        to: target,
        reply: reply
    )
}

private func statistics(_ request: fuse_req_t!, _ inode: fuse_ino_t) {
    unsafe fileSystem(of: request).statistics(
        of: Inode(rawValue: inode),
        reply: StatisticsReply(request: Request(request))
    )
}

private func getExtendedAttribute(
    _ request: fuse_req_t!,
    _ inode: fuse_ino_t,
    _ name: UnsafePointer<CChar>!,
    _ capacity: Int
) {
    let name = unsafe UnsafeRawBufferPointer(start: name, count: strlen(name))
    unsafe fileSystem(of: request).extendedAttribute(
        Array(name),
        of: Inode(rawValue: inode),
        reply: ExtendedAttributeReply(request: Request(request), capacity: capacity)
    )
}

private func listExtendedAttributes(_ request: fuse_req_t!, _ inode: fuse_ino_t, _ capacity: Int) {
    unsafe fileSystem(of: request).extendedAttributeNames(
        of: Inode(rawValue: inode),
        reply: ExtendedAttributeNamesReply(request: Request(request), capacity: capacity)
    )
}
