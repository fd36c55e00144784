import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A regular file of this host that is changed in place. Every method may be called from any thread.
public final class LocalWritableFile: WritableFile {
    /// Zeros, to be written where the host cannot do it at once.
    private static let zeros = [UInt8](repeating: 0, count: 1 << 20)

    /// The number of this opening.
    public let id = HostFileID()
    /// The path it was opened by.
    public let path: String
    /// Its size in bytes when it was opened.
    public let size: UInt64
    /// Which file it is.
    public let identity: FileIdentity?
    /// When its content last changed, as of opening.
    public let modified: FileTime
    /// Whether the host can be asked for bytes without waiting for a disk.
    public let isPrompt: Bool
    private let location: FilePath
    private let handle: FileDescriptor
    /// Why the first `sync` that failed did.
    private let fault = Guarded<ImageError?>(nil)

    /// Opens the regular file at `location`, which must not be a link.
    ///
    /// Throws `system` where it cannot be opened for writing, and `denied` for what is no regular file.
    public init(at location: FilePath) throws(ImageError) {
        self.location = location
        path = location.text
        do {
            // A FIFO would otherwise wait for its other end.
            handle = try FileDescriptor.open(location, .readWrite, options: [.closeOnExec, .noFollow, .nonBlocking])
        } catch {
            throw ImageError.system(error, path: location.text, "open for writing")
        }
        let status: FileStatus
        do throws(Errno) { status = try FileStatus(handle) } catch {
            try? handle.close()
            throw ImageError.system(error, path: location.text, "look at it")
        }
        guard status.kind == .regular else {
            try? handle.close()
            throw ImageError(.denied, path: location.text, "is \(status.kind.text), and must be a regular file")
        }
        size = status.size
        identity = status.identity
        modified = status.modified
        isPrompt = clinux_is_prompt(handle.rawValue) == 1
    }

    deinit {
        handle.close(on: identity?.device)
    }

    /// Keeps other programs from it for as long as it is open, by QEMU's locks. Throws `system` with EBUSY where one has it.
    public func lock() throws(ImageError) { try ImageLocks.writing.take(handle.rawValue, path: path) }

    /// Lets those read and write it that may do so with the file that `other` has open, and its owner. Throws `system` where that
    /// cannot be.
    public func setPermissions(asOf other: CInt?) throws(ImageError) {
        let permissions = other.flatMap { try? FileStatus(FileDescriptor(rawValue: $0)).permissions }
        guard fchmod(handle.rawValue, permissions.map { mode_t($0) & 0o666 | 0o600 } ?? 0o600) == 0 else {
            throw ImageError.system(Errno(rawValue: errno), path: path, "set its permissions")
        }
    }

    /// The open descriptor.
    public var descriptor: CInt? { handle.rawValue }
    /// Its size in bytes now; 0 where that cannot be known.
    public var currentSize: UInt64 { (try? FileStatus(handle))?.size ?? 0 }
    /// The bytes it takes on the host's file system now.
    public var allocatedSize: UInt64 { (try? FileStatus(handle))?.allocatedSize ?? 0 }
    /// When its content last changed; nil where that cannot be known.
    public var modifiedNow: FileTime? { (try? FileStatus(handle))?.modified }
    /// Whether its path still leads to this very file.
    public var isCurrent: Bool { (try? FileStatus(at: location, followingLinks: false))?.identity == identity }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    public func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try handle.read(count, at: offset, of: path, into: &output)
    }

    /// Tells the host that the `count` bytes at `offset` will be read soon, and does not wait for them.
    public func willNeed(_ count: UInt64, at offset: HostOffset) {
        guard let start = off_t(exactly: offset.rawValue) else { return }
        _ = posix_fadvise(handle.rawValue, start, off_t(clamping: count), POSIX_FADV_WILLNEED)
    }

    /// How the host keeps the bytes from `offset` on.
    public func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        handle.run(at: offset, limit: limit)
    }

    /// Writes all of `bytes` at `offset`.
    public func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError) {
        try handle.write(bytes, at: offset, of: path)
    }

    /// Has the `count` bytes at `offset` read as zeros, as far as the file has them: by a hole where their space need not be
    /// kept, else by marking their space unwritten; where the host can do neither, by writing zeros.
    public func zero(_ count: UInt64, at offset: HostOffset, keepingSpace: Bool) throws(ImageError) {
        let end = currentSize
        guard offset.rawValue < end, count > 0 else { return }
        let count = min(count, end - offset.rawValue)
        guard let start = off_t(exactly: offset.rawValue), let length = off_t(exactly: count) else { return }
        let fallocate = keepingSpace ? clinux_zero_range : clinux_punch_hole
        while fallocate(handle.rawValue, start, length) != 0 {
            switch errno {
            case EINTR: continue
            case EOPNOTSUPP, ENOSYS: return try writeZeros(count, at: offset)
            case let code: throw ImageError.system(Errno(rawValue: code), path: path, offset: offset, "zero")
            }
        }
    }

    private func writeZeros(_ count: UInt64, at offset: HostOffset) throws(ImageError) {
        var (position, left) = (offset, count)
        while left > 0 {
            let piece = min(left, UInt64(Self.zeros.count))
            // Safe: integers have no bytes that are not set.
            unsafe try write(Self.zeros.span.bytes.extracting(first: Int(piece)), at: position)
            position = position.advanced(by: piece)
            left -= piece
        }
    }

    /// Makes it `size` bytes long; what is added is a hole.
    public func setSize(_ size: UInt64) throws(ImageError) {
        guard let end = off_t(exactly: size) else {
            throw ImageError(.system(errno: EFBIG), path: path, "no file can be \(counted(size, "byte")) long")
        }
        while ftruncate(handle.rawValue, end) != 0 {
            guard errno == EINTR else {
                throw ImageError.system(
                    Errno(rawValue: errno), path: path, "make it \(counted(size, "byte")) long")
            }
        }
    }

    /// Takes it out of its folder, and returns when that is on stable storage. Throws `system`, with ESTALE where its path leads to
    /// another file by now, which stays.
    public func remove() throws(ImageError) {
        guard isCurrent else {
            throw ImageError(.system(errno: ESTALE), path: path, "another file has its name by now, and stays")
        }
        do {
            let folder = try FileDescriptor.open(
                location.removingLastComponent(), .readOnly, options: [.directory, .closeOnExec])
            try folder.closeAfter {
                // Safe: a string of ours.
                guard unsafe location.withPlatformString({ unsafe unlink($0) }) == 0 else {
                    throw Errno(rawValue: errno)
                }
                // Some file systems have no such thing, and need none.
                guard fsync(folder.rawValue) == 0 || errno == EINVAL else { throw Errno(rawValue: errno) }
            }
        } catch {
            throw ImageError.system(error, path: path, "remove it")
        }
    }

    /// Returns when everything written before the call is on stable storage. After one failure every later call fails in
    /// the same way: Linux may take pages for written that it could not write.
    public func sync() throws(ImageError) {
        if let fault = fault.withLock({ $0 }) { throw fault }
        while fdatasync(handle.rawValue) != 0 {
            guard errno != EINTR else { continue }
            let error = ImageError.system(Errno(rawValue: errno), path: path, "flush")
            fault.withLock { $0 = $0 ?? error }
            throw error
        }
    }
}
