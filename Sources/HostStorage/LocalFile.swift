import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A regular file of this host, open for reading. Every method may be called from any thread.
public final class LocalFile: HostFile {
    /// The link by which a file was opened.
    public struct Link: Sendable {
        /// Where the link is: a folder without links, and its own name.
        public let path: FilePath
        private let status: FileStatus

        /// The link at `path`; nil where there is none.
        init?(at path: FilePath) {
            guard let status = try? FileStatus(at: path, followingLinks: false) else { return nil }
            self.path = path
            self.status = status
        }

        /// Whether it is still the link that it was. Where it leads is not looked at.
        var isCurrent: Bool {
            guard let now = try? FileStatus(at: path, followingLinks: false) else { return false }
            return now.identity == status.identity && now.modified == status.modified
        }
    }

    /// The number of this opening.
    public let id = HostFileID()
    /// The path it was opened by, for messages and for resolving names beside it; of a part of a file, the path of the
    /// whole and the part's name. Made once: it is asked for by each read.
    public let path: String
    /// The canonical path, as the host has it.
    public let location: FilePath
    /// The link that led there; nil where the file was opened by the name that it has.
    public let link: Link?
    /// Its size in bytes when it was opened.
    public let size: UInt64
    /// The bytes it takes on the host's file system now: less than `size` where it has holes.
    public var allocatedSize: UInt64 { (try? FileStatus(handle))?.allocatedSize ?? 0 }
    /// Which file it is; nil when it lives in memory, or is made of parts of files (`FileSlice`, `JoinedFile`).
    public let identity: FileIdentity?
    /// When its content last changed, as of opening.
    public let modified: FileTime
    /// Whether the host can be asked for bytes without waiting for a disk, as `ReadScope.withoutBlocking` does, and can
    /// be asked about the file at once.
    public let isPrompt: Bool
    /// It is on FUSE, and all its times were those of its opening.
    public let isDatedByClock: Bool
    private let handle: FileDescriptor
    /// Nil until it was asked what of the file is in the page cache.
    private let cacheMap = Guarded<PageCacheMap?>(nil)

    /// Takes over `handle`, open for reading on the regular file at `location`, to which `link` led, and closes it in the
    /// end.
    init(_ handle: FileDescriptor, location: FilePath, link: Link?, status: FileStatus) {
        self.handle = handle
        self.location = location
        path = location.text
        self.link = link
        size = status.size
        identity = status.identity
        modified = status.modified
        isPrompt = clinux_is_prompt(handle.rawValue) == 1
        isDatedByClock = status.isDatedNow && clinux_is_on_fuse(handle.rawValue) == 1
    }

    deinit {
        handle.close(on: identity?.device)
    }

    /// The open descriptor, for what only the kernel can do with it: offset 0 of both is the same byte.
    public var descriptor: CInt? { handle.rawValue }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try handle.read(count, at: offset, of: path, into: &output)
    }

    /// Tells the host that the `count` bytes at `offset` will be read soon, and does not wait for them.
    public func willNeed(_ count: UInt64, at offset: HostOffset) {
        guard let start = off_t(exactly: offset.rawValue) else { return }
        _ = posix_fadvise(handle.rawValue, start, off_t(clamping: count), POSIX_FADV_WILLNEED)
    }

    /// Whether the host has all of the `count` bytes at `offset` in its memory: then nothing waits for a disk.
    public func isCached(_ count: UInt64, at offset: HostOffset) -> Bool {
        guard isPrompt, let start = off_t(exactly: offset.rawValue), let count = Int(exactly: count),
            !start.addingReportingOverflow(off_t(count)).overflow
        else { return false }
        let map = cacheMap.withLock { map in
            let known = map ?? PageCacheMap(of: handle.rawValue, size: size)
            map = known
            return known
        }
        return map.has(count, at: start, of: handle.rawValue)
    }

    /// Whether it was opened by a link that is in another folder than the file itself.
    public var isLinked: Bool {
        link.map { $0.path.removingLastComponent() != location.removingLastComponent() } ?? false
    }

    /// Whether its path still leads to this very file, unchanged since it was opened.
    public var isCurrent: Bool {
        guard link?.isCurrent ?? true else { return false }
        guard let status = try? FileStatus(at: location) else { return false }
        return status.identity == identity && hasContent(of: status)
    }

    /// Whether the file that was opened has not been written to since, whatever its path leads to by now.
    public var isUnchanged: Bool {
        guard let status = try? FileStatus(handle) else { return false }
        return hasContent(of: status)
    }

    /// Whether `status`, of the file as it is now, speaks for no change of what it has.
    private func hasContent(of status: FileStatus) -> Bool {
        guard status.size == size else { return false }
        return status.modified == modified || isDatedByClock && status.isDatedNow && imageLock != .writing
    }

    /// How another program has locked it, by QEMU's convention; nil where none has.
    public var imageLock: ImageLock? { handle.imageLock }

    /// Keeps other programs from writing to it for as long as it is open.
    public func lockAgainstWriters() throws(ImageError) { try ImageLocks.base.take(handle.rawValue, path: path) }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        handle.run(at: offset, limit: limit)
    }
}

extension FileDescriptor {
    /// Opens the file at `path` for reading, and, where the system allows that, as it does to the owner and to root, so that
    /// reading it does not change when it was last accessed.
    static func openUnnoticed(_ path: FilePath) throws -> FileDescriptor {
        do {
            return try open(path, .readOnly, options: [.closeOnExec, OpenOptions(rawValue: clinux_O_NOATIME)])
        } catch Errno.notPermitted {
            return try open(path, .readOnly, options: .closeOnExec)
        }
    }

    /// Appends exactly the `count` bytes at `offset` to `output`, as `HostFile` has it; errors are about `path`.
    func read(
        _ count: Int, at offset: HostOffset, of path: String, into output: inout OutputRawSpan
    ) throws(ImageError) {
        guard let start = Int64(exactly: offset.rawValue) else {
            throw ImageError(.corrupt, path: path, offset: offset, "no file reaches this offset")
        }
        let isNow = !ReadScope.mayBlock
        if !isNow { try ReadScope.checkWanted() }
        // Safe: the slice of the span's free room is bounds-checked, and pread writes into that slice only.
        try unsafe output.withUnsafeMutableBytes { room, initializedCount throws(ImageError) in
            let end = initializedCount + count
            var position = start
            while initializedCount < end {
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: room[initializedCount..<end])
                let got: Int
                do {
                    got =
                        try unsafe isNow
                        ? readNow(at: position, into: rest) : read(fromAbsoluteOffset: position, into: rest)
                } catch {
                    if isNow, error as? Errno == .resourceTemporarilyUnavailable { throw ReadScope.blocked(path) }
                    throw ImageError.system(error, path: path, offset: HostOffset(UInt64(position)), "read")
                }
                guard got > 0 else {
                    throw ImageError(
                        .truncated, path: path, offset: HostOffset(UInt64(position)),
                        "the file ends here, \(end - initializedCount) bytes early: it was cut while it was open")
                }
                initializedCount += got
                position += Int64(got)
            }
        }
    }

    /// Reads what of it is in memory. Throws EAGAIN where nothing is.
    private func readNow(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) -> Int {
        // Safe: the call writes at most as many bytes as the buffer has.
        let count = unsafe clinux_read_now(rawValue, buffer.baseAddress, buffer.count, off_t(offset))
        guard count >= 0 else { throw Errno(rawValue: errno) }
        return count
    }

    /// How the host keeps the bytes of the file from `offset` on: whether they are a hole, and for how many bytes, at most
    /// `limit`, that stays so. Asks the file system with SEEK_DATA and SEEK_HOLE.
    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        guard let start = off_t(exactly: offset.rawValue) else { return (false, limit) }
        let data = Glibc.lseek(rawValue, start, clinux_SEEK_DATA)
        if data < 0 {
            // ENXIO: no data from here to the end of the file. Anything else: the file system cannot tell.
            return (errno == ENXIO, limit)
        }
        if data > start { return (true, min(limit, UInt64(data - start))) }
        let hole = Glibc.lseek(rawValue, start, clinux_SEEK_HOLE)
        return (false, hole > start ? min(limit, UInt64(hole - start)) : limit)
    }

    /// How another program has locked the file. QEMU locks a byte for each kind of use (block/file-posix.c,
    /// RAW_LOCK_PERM_BASE): byte 100 for reading, byte 101 for writing.
    var imageLock: ImageLock? {
        if clinux_is_locked(rawValue, 101, 1) == 1 { return .writing }
        return clinux_is_locked(rawValue, 100, 1) == 1 ? .reading : nil
    }
}

extension ImageError {
    /// The operating system's refusal of `action`, in its own words.
    static func system(_ error: any Error, path: String, offset: HostOffset? = nil, _ action: ErrorText) -> ImageError {
        let code = (error as? Errno) ?? .ioError
        return ImageError(.system(errno: code.rawValue), path: path, offset: offset, "\(action): \(code.description)")
    }
}
