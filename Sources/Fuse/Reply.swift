internal import CFuse3
import Glibc

/// A request that waits for its answer: exactly one must be sent, and sending it frees the request. Dropped, it is
/// answered with EIO, so that a forgotten reply cannot hang the caller.
// Safe: the pointer is private, valid until it is answered, and leaves this type only by `take`, which ends the value.
@safe struct Request: ~Copyable {
    private let pointer: fuse_req_t

    init(_ pointer: fuse_req_t) {
        unsafe self.pointer = pointer
    }

    /// The raw request, for the one call that answers it.
    consuming func take() -> fuse_req_t {
        let pointer = unsafe self.pointer
        discard self
        return unsafe pointer
    }

    consuming func fail(_ error: ErrorNumber) {
        // Safe: a taken request is answered once.
        unsafe _ = fuse_reply_err(take(), error.rawValue)
    }

    deinit {
        // Safe: a request that reaches deinit was not taken.
        unsafe _ = fuse_reply_err(pointer, EIO)
    }
}

/// Answers a lookup. Answer once; dropped, it answers EIO.
public struct EntryReply: ~Copyable {
    let request: Request

    /// The name exists. The kernel may use the name for `entryTimeout` seconds and the attributes for
    /// `attributesTimeout` seconds without asking again. False when the mount is at its end, and the kernel has not counted
    /// a reference.
    @discardableResult
    public consuming func entry(_ attributes: Attributes, entryTimeout: Double, attributesTimeout: Double) -> Bool {
        var entry = fuse_entry_param()
        entry.ino = attributes.inode.rawValue
        entry.attr = stat(attributes)
        entry.entry_timeout = entryTimeout
        entry.attr_timeout = attributesTimeout
        // Safe: libfuse copies the entry; the request is answered once.
        return unsafe fuse_reply_entry(request.take(), &entry) == 0
    }

    /// The name does not exist (ENOENT), and the kernel need not ask again for `timeout` seconds.
    public consuming func noEntry(timeout: Double) {
        var entry = fuse_entry_param()
        entry.entry_timeout = timeout
        // Safe: inode 0 means "no such name"; libfuse copies the entry.
        unsafe _ = fuse_reply_entry(request.take(), &entry)
    }

    /// The lookup failed.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers a question for attributes. Answer once; dropped, it answers EIO.
public struct AttributesReply: ~Copyable {
    let request: Request

    /// The attributes, which the kernel may use for `timeout` seconds without asking again.
    public consuming func attributes(_ attributes: Attributes, timeout: Double) {
        var attributes = stat(attributes)
        // Safe: libfuse copies the attributes; the request is answered once.
        unsafe _ = fuse_reply_attr(request.take(), &attributes, timeout)
    }

    /// The attributes cannot be read.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers where a link leads. Answer once; dropped, it answers EIO.
public struct LinkReply: ~Copyable {
    let request: Request

    /// The path that it leads to, without NUL; at most 4,095 bytes.
    public consuming func target(_ path: [UInt8]) {
        let path = (path + [0]).map(CChar.init(bitPattern:))
        // Safe: libfuse copies the path up to its NUL; the request is answered once.
        unsafe _ = fuse_reply_readlink(request.take(), path)
    }

    /// It cannot be read, or is no link (`invalidArgument`).
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers the opening of a file or directory. Answer once; dropped, it answers EIO.
public struct OpenReply: ~Copyable {
    let request: Request

    /// It is open, and `handle` will come back with every use. False when the caller was interrupted and is gone: then
    /// nothing will be closed, and the file system must let go of the handle itself.
    @discardableResult
    public consuming func opened(_ handle: FileHandle, _ options: OpenOptions = OpenOptions()) -> Bool {
        if let backing = options.backing {
            // Safe: the request is answered once.
            return unsafe cfuse3_reply_passthrough(request.take(), handle.rawValue, backing.number) == 0
        }
        if options.writesInParallel {
            // Safe: the request is answered once.
            return unsafe cfuse3_reply_parallel(
                request.take(), handle.rawValue, options.directIO ? 1 : 0, options.keepCache ? 1 : 0) == 0
        }
        var info = fuse_file_info()
        info.fh = handle.rawValue
        info.keep_cache = options.keepCache ? 1 : 0
        info.direct_io = options.directIO ? 1 : 0
        // Safe: libfuse copies the info; the request is answered once.
        return unsafe fuse_reply_open(request.take(), &info) == 0
    }

    /// It cannot be opened.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers a read. Answer once; dropped, it answers EIO.
public struct DataReply: ~Copyable {
    let request: Request

    /// The bytes, at most as many as were asked for; none at the end of the file. They go to the kernel straight from
    /// the caller's memory, before this returns.
    public consuming func bytes(_ bytes: RawSpan) {
        let request = unsafe request.take()
        // Safe: the span keeps its memory alive during the call, and libfuse keeps no pointer to it.
        unsafe bytes.withUnsafeBytes { buffer in
            unsafe _ = fuse_reply_buf(request, buffer.baseAddress, buffer.count)
        }
    }

    /// The bytes cannot be read.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers a seek. Answer once; dropped, it answers EIO.
public struct SeekReply: ~Copyable {
    let request: Request

    /// Where the data or hole begins, in bytes from the start of the file.
    public consuming func offset(_ offset: UInt64) {
        // Safe: the request is answered once.
        unsafe _ = fuse_reply_lseek(request.take(), off_t(clamping: offset))
    }

    /// Nothing was found (`noSuchAddress`), or looking failed.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// Answers `statfs`. Answer once; dropped, it answers EIO.
public struct StatisticsReply: ~Copyable {
    let request: Request

    /// The mount's figures.
    public consuming func statistics(_ statistics: Statistics) {
        var result = statvfs()
        result.f_bsize = UInt(statistics.blockSize)
        result.f_frsize = UInt(statistics.blockSize)
        result.f_blocks = fsblkcnt_t(statistics.blocks)
        result.f_bfree = fsblkcnt_t(statistics.freeBlocks)
        result.f_bavail = fsblkcnt_t(statistics.availableBlocks)
        result.f_files = fsfilcnt_t(statistics.files)
        result.f_ffree = fsfilcnt_t(statistics.freeFiles)
        result.f_favail = fsfilcnt_t(statistics.freeFiles)
        result.f_namemax = UInt(Statistics.maximumNameSize)
        // Safe: libfuse copies the figures; the request is answered once.
        unsafe _ = fuse_reply_statfs(request.take(), &result)
    }

    /// The figures cannot be read.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}

/// The C form of attributes.
private func stat(_ attributes: Attributes) -> stat {
    var result = Glibc.stat()
    result.st_ino = ino_t(attributes.inode.rawValue)
    result.st_mode = attributes.kind.mode | mode_t(attributes.permissions & 0o7777)
    result.st_nlink = nlink_t(attributes.linkCount)
    result.st_uid = attributes.userID
    result.st_gid = attributes.groupID
    // As Linux has a device in 32 bits: twelve of the major number between eight and twelve of the minor one.
    let (major, minor) = (attributes.device.major, attributes.device.minor)
    result.st_rdev = dev_t(minor & 0xff | (major & 0xfff) << 8 | (minor & 0xf_ff00) << 12)
    result.st_size = off_t(clamping: attributes.size)
    result.st_blocks = blkcnt_t(clamping: attributes.blocks)
    result.st_blksize = blksize_t(clamping: attributes.blockSize)
    result.st_atim = timespec(tv_sec: Int(attributes.accessed.seconds), tv_nsec: attributes.accessed.nanoseconds)
    result.st_mtim = timespec(tv_sec: Int(attributes.modified.seconds), tv_nsec: attributes.modified.nanoseconds)
    result.st_ctim = timespec(tv_sec: Int(attributes.changed.seconds), tv_nsec: attributes.changed.nanoseconds)
    return result
}

extension FileKind {
    /// The bits of `st_mode` for the kind.
    var mode: mode_t {
        switch self {
        case .directory: S_IFDIR
        case .regularFile: S_IFREG
        case .symbolicLink: S_IFLNK
        case .fifo: S_IFIFO
        case .socket: S_IFSOCK
        case .characterDevice: S_IFCHR
        case .blockDevice: S_IFBLK
        }
    }
}

/// Answers a listing: add entries until one does not fit or none is left, then `finish`. Dropped, it answers EIO.
public struct DirectoryReply: ~Copyable {
    private let request: Request
    private var buffer: [UInt8]
    private var used = 0

    init(request: consuming Request, capacity: Int) {
        self.request = request
        buffer = [UInt8](repeating: 0, count: capacity)
    }

    /// Adds an entry; "." and ".." are entries like others, and `kind` is nil where only the file itself says it. False when the kernel's buffer has no space for it: it will
    /// ask again with the last `nextPosition` it got. Positions are the file system's own; 0 means the start.
    public mutating func add(name: [UInt8], inode: Inode, kind: FileKind?, nextPosition: UInt64) -> Bool {
        var attributes = stat()
        attributes.st_ino = ino_t(inode.rawValue)
        attributes.st_mode = kind?.mode ?? 0
        let name = (name + [0]).map(CChar.init(bitPattern:))
        let used = used
        // Safe: libfuse writes only if the whole entry fits into the bytes that are left; it does not use the request.
        let needed = unsafe buffer.withUnsafeMutableBytes { buffer in
            let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[used...])
            let start = unsafe rest.baseAddress?.assumingMemoryBound(to: CChar.self)
            return unsafe fuse_add_direntry(nil, start, rest.count, name, &attributes, off_t(clamping: nextPosition))
        }
        guard needed <= buffer.count - used else { return false }
        self.used += needed
        return true
    }

    /// Sends what was added. Nothing added means the end of the directory.
    public consuming func finish() {
        let used = used
        let request = unsafe request.take()
        // Safe: `used` is within the buffer, which libfuse reads before it returns; the request is answered once.
        unsafe buffer.withUnsafeBytes { buffer in
            let start = unsafe buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
            unsafe _ = fuse_reply_buf(request, start, used)
        }
    }

    /// The directory cannot be listed.
    public consuming func failure(_ error: ErrorNumber) {
        request.fail(error)
    }
}
