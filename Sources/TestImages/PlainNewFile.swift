import BlockImage
import Foundation
import Synchronization

/// A new file that is where it will be from the start, for tests of what is written into it.
public final class PlainNewFile: NewFile {
    /// See `NewFile`.
    public let path: String
    /// How many calls wrote to it.
    public let writes = Atomic<Int>(0)
    private let handle: CInt

    /// An empty file at `path`, in place of one that may be there.
    public init(_ path: String) throws {
        self.path = path
        handle = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard handle >= 0 else { throw ToolFailure(description: "cannot create \(path): errno \(errno)") }
    }

    deinit {
        close(handle)
    }

    /// See `NewFile`; shares nothing, but throws where other bytes are `stored` there.
    public func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError) {
        writes.add(1, ordering: .relaxed)
        if let stored {
            let there = try stored.file.bytes(bytes.byteCount, at: stored.offset, of: "stored bytes")
            guard bytes.withUnsafeBytes({ areSame($0, there) }) else {
                throw ImageError(
                    .corrupt, path: stored.file.path, offset: stored.offset, "other bytes are stored there")
            }
        }
        let count = bytes.withUnsafeBytes { pwrite(handle, $0.baseAddress, $0.count, off_t(offset.rawValue)) }
        if count != bytes.byteCount { throw failure("writing", at: offset) }
    }

    /// See `NewFile`.
    public func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) throws(ImageError) {
        if isFilled { return try write(Array(repeating: 0, count: Int(count)), at: offset) }
        if posix_fallocate(handle, off_t(offset.rawValue), off_t(count)) != 0 { throw failure("reserving", at: offset) }
    }

    /// See `NewFile`.
    public func setSize(_ size: UInt64) throws(ImageError) {
        if ftruncate(handle, off_t(size)) != 0 { throw failure("setting the size", at: nil) }
    }

    private func failure(_ what: String, at offset: HostOffset?) -> ImageError {
        ImageError(.system(errno: errno), path: path, offset: offset, "\(what) failed")
    }
}
