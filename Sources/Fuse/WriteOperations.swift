internal import CFuse3
import Glibc

// libfuse's callbacks of a mount whose files can be written.

extension fuse_lowlevel_ops {
    /// Has files be written, rather than EROFS be answered; every other change is still refused.
    mutating func allowWriting() {
        unsafe write = writeFile
        unsafe fallocate = allocate
        unsafe fsync = synchronize
        unsafe fsyncdir = synchronizeDirectory
        unsafe flush = flushFile
        unsafe setattr = setAttributes
    }
}

// Safe, in all that follow: libfuse passes a live request, and pointers that are valid until the callback returns.

private func writeFile(
    _ request: fuse_req_t!, _ inode: fuse_ino_t, _ bytes: UnsafePointer<CChar>!, _ count: Int, _ offset: off_t,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    let bytes = unsafe RawSpan(_unsafeStart: UnsafeRawPointer(bytes), byteCount: count)
    unsafe fileSystem(of: request).write(
        bytes, at: UInt64(UInt(bitPattern: offset)), isPage: info.pointee.writepage != 0, Inode(rawValue: inode),
        handle: FileHandle(rawValue: info.pointee.fh), reply: WriteReply(request: Request(request)))
}

private func allocate(
    _ request: fuse_req_t!, _ inode: fuse_ino_t, _ mode: CInt, _ offset: off_t, _ count: off_t,
    _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    let reply = unsafe DoneReply(request: Request(request))
    let keepsSize = mode & cfuse3_keep_size != 0
    let keepsSpace: Bool
    switch mode & ~cfuse3_keep_size {
    case cfuse3_punch_hole where keepsSize: keepsSpace = false
    case cfuse3_zero_range: keepsSpace = true
    default: return reply.failure(.notSupported)
    }
    unsafe fileSystem(of: request).zero(
        UInt64(UInt(bitPattern: count)), at: UInt64(UInt(bitPattern: offset)),
        ZeroingWay(keepsSpace: keepsSpace, keepsSize: keepsSize), Inode(rawValue: inode),
        handle: FileHandle(rawValue: info.pointee.fh), reply: reply)
}

private func synchronize(
    _ request: fuse_req_t!, _ inode: fuse_ino_t, _ dataOnly: CInt, _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).synchronize(
        Inode(rawValue: inode), handle: FileHandle(rawValue: info.pointee.fh),
        reply: DoneReply(request: Request(request)))
}

/// The directory itself never changes by what is written: what is meant are files.
private func synchronizeDirectory(
    _ request: fuse_req_t!, _ inode: fuse_ino_t, _ dataOnly: CInt, _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).synchronizeAll(reply: DoneReply(request: Request(request)))
}

private func flushFile(
    _ request: fuse_req_t!, _ inode: fuse_ino_t, _ info: UnsafeMutablePointer<fuse_file_info>!
) {
    unsafe fileSystem(of: request).flush(
        Inode(rawValue: inode), handle: FileHandle(rawValue: info.pointee.fh),
        reply: DoneReply(request: Request(request)))
}

/// Of the attributes only the size can be another: owner, mode and times are those of the image.
private func setAttributes(
    _ request: fuse_req_t!, _ inode: fuse_ino_t, _ attributes: UnsafeMutablePointer<stat>!, _ set: CInt,
    _ info: UnsafeMutablePointer<fuse_file_info>?
) {
    let reply = unsafe AttributesReply(request: Request(request))
    // The kernel adds the times, and that the bits of set-user-ID go, to a new size.
    guard set & FUSE_SET_ATTR_SIZE != 0, set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) == 0 else {
        return reply.failure(.readOnlyFileSystem)
    }
    unsafe fileSystem(of: request).resize(
        Inode(rawValue: inode), to: UInt64(UInt(bitPattern: attributes.pointee.st_size)), reply: reply)
}
