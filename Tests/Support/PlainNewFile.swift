import BlockImage
import Foundation
import HostTools
import Synchronization

/// A new file that is where it will be from the start, for tests of what is written into it.
package final class PlainNewFile: NewFile {
    /// The path that it will have, for messages.
    package let path: String
    /// How many calls wrote to it.
    package let writes = Atomic<Int>(0)
    private let handle: CInt

    /// An empty file at `path`, in place of one that may be there.
    package init(_ path: String) throws {
        self.path = path
        handle = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard handle >= 0 else { throw ToolFailure(description: "cannot create \(path): errno \(errno)") }
    }

    deinit {
        close(handle)
    }

    /// Writes `bytes` at `offset`: shares nothing, but throws where other bytes are `stored` there.
    package func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError) {
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

    /// Gives the `count` bytes at `offset` space on the host; they read as zeros.
    package func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) throws(ImageError) {
        if isFilled { return try write(Array(repeating: 0, count: Int(count)), at: offset) }
        if posix_fallocate(handle, off_t(offset.rawValue), off_t(count)) != 0 { throw failure("reserving", at: offset) }
    }

    /// Makes it `size` bytes long: what is past that is cut off, what is missing is a hole.
    package func setSize(_ size: UInt64) throws(ImageError) {
        if ftruncate(handle, off_t(size)) != 0 { throw failure("setting the size", at: nil) }
    }

    private func failure(_ what: String, at offset: HostOffset?) -> ImageError {
        ImageError(.system(errno: errno), path: path, offset: offset, "\(what) failed")
    }
}

/// The files of a new image in a folder, where they are from the start, for tests of what is written into them.
package final class FolderFiles: NewFiles {
    private let folder: String

    /// New files in the folder at `path`.
    package init(_ path: String) {
        folder = path
    }

    /// A new file of the folder; one that exists is replaced.
    package func file(named name: String) throws(ImageError) -> any NewFile {
        let path = "\(folder)/\(name)"
        do { return try PlainNewFile(path) } catch {
            throw ImageError(.system(errno: EIO), path: path, "\(error)")
        }
    }
}
