internal import CFuse3
import Glibc

/// Answers a listing: add entries until one does not fit or none is left, then `finish`. Dropped, it answers EIO.
public struct DirectoryReply: ~Copyable {
    private let request: Request
    private var buffer: [UInt8]
    private var used = 0

    init(request: consuming Request, capacity: Int) {
        self.request = request
        buffer = [UInt8](repeating: 0, count: capacity)
    }

    /// Adds an entry; "." and ".." are entries like others. False when the kernel's buffer has no room for it: it will
    /// ask again with the last `nextPosition` it got. Positions are the file system's own; 0 means the start.
    public mutating func add(name: [UInt8], inode: Inode, kind: FileKind, nextPosition: UInt64) -> Bool {
        var attributes = stat()
        attributes.st_ino = ino_t(inode.rawValue)
        attributes.st_mode = kind.mode
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
