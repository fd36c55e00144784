import BlockImage
import CLinux
import Dispatch
import Glibc
import Synchronization
import SystemPackage

/// A file of a new image that is being written. Every method may be called from any thread.
final class NewLocalFile: NewFile {
    /// The bytes after which it is time to have what was written go to the disk.
    private static let writeBackSize = 32 << 20
    /// What `FICLONERANGE` can share begins and ends at multiples of the file system's blocks, which are seldom larger.
    private static let sharedBlockSize: UInt64 = 4096
    /// Zeros, to be written where the host cannot set space aside.
    private static let zeros = [UInt8](repeating: 0, count: 1 << 20)

    /// The path that it will have, for messages.
    let path: String
    private let location: FilePath
    private let handle: FileDescriptor
    /// The hidden name of the file; nil while it has none.
    private let hidden: Guarded<HiddenName?>
    /// Whether the host may be able to share bytes of other files with this one.
    private let isSharing = Atomic(true)
    private let writesBackEarly: Bool
    private let written = Atomic(0)
    private let isWritingBack = Atomic(false)
    private let writeBack = DispatchQueue(label: "rblock.write-back")

    /// A file in the folder of `location`, which it gets later. `startsWriteBack`: what was written goes to the disk
    /// while more is written, so that `flush` has less to wait for. `replaces`: it is to take the place of a file there,
    /// and is its owner's alone until it has what `keepAttributes` gives it.
    init(for location: FilePath, startsWriteBack: Bool, replaces: Bool) throws(ImageError) {
        self.location = location
        path = location.text
        writesBackEarly = startsWriteBack
        let folder = location.removingLastComponent()
        let mode: mode_t = replaces ? 0o600 : 0o666
        if let unnamed = Self.openUnnamed(in: folder, mode) {
            handle = unnamed
            hidden = Guarded(nil)
            return
        }
        let name = HiddenName(for: location)
        do {
            handle = try FileDescriptor.open(
                name.location, .readWrite, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: FilePermissions(rawValue: mode))
        } catch {
            throw ImageError.system(error, path: path, "create the file")
        }
        hidden = Guarded(name)
    }

    /// The bytes that it takes on the host.
    var allocatedSize: UInt64 { (try? FileStatus(handle))?.allocatedSize ?? 0 }

    deinit {
        // No write-back is under way any more: it keeps this object.
        try? handle.close()
    }

    /// Removes its hidden name, if it has one: for a file that gets no place.
    func discard() {
        hidden.withLock { name in
            name?.location.unlink()
            name = nil
        }
    }

    private static func openUnnamed(in folder: FilePath, _ mode: mode_t) -> FileDescriptor? {
        // Safe: the string ends in NUL.
        let unnamed = unsafe folder.withPlatformString { unsafe clinux_open_unnamed($0, mode) }
        return unnamed < 0 ? nil : FileDescriptor(rawValue: unnamed)
    }

    /// Writes `bytes` at `offset`.
    func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError) {
        if let stored, isSharing.load(ordering: .relaxed), share(bytes.byteCount, at: offset, stored) { return }
        try handle.write(bytes, at: offset, of: path)
        if writesBackEarly { writeBackEarly(bytes.byteCount) }
    }

    /// Shares the bytes, and answers whether the host could do it.
    private func share(_ count: Int, at offset: HostOffset, _ stored: StoredBytes) -> Bool {
        let places = [UInt64(count), offset.rawValue, stored.offset.rawValue]
        guard places.allSatisfy({ $0 % Self.sharedBlockSize == 0 }), let source = stored.file.descriptor,
            let to = off_t(exactly: offset.rawValue), let from = off_t(exactly: stored.offset.rawValue)
        else { return false }
        if clinux_share(handle.rawValue, to, source, from, off_t(count)) == 0 { return true }
        // Another place may do; but where the file systems cannot, or are two, none will.
        if [EOPNOTSUPP, EXDEV, ENOTTY, ENOSYS, EBADF, EPERM].contains(errno) {
            isSharing.store(false, ordering: .relaxed)
        }
        return false
    }

    private func writeBackEarly(_ count: Int) {
        guard written.add(count, ordering: .relaxed).newValue >= Self.writeBackSize,
            isWritingBack.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
        else { return }
        written.store(0, ordering: .relaxed)
        let handle = handle
        writeBack.async { [self] in
            clinux_begin_write_back(handle.rawValue)
            isWritingBack.store(false, ordering: .releasing)
        }
    }

    /// Gives the `count` bytes at `offset` space on the host; they read as zeros.
    func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) throws(ImageError) {
        guard let start = off_t(exactly: offset.rawValue), let size = off_t(exactly: count), count > 0 else { return }
        if !isFilled {
            if clinux_allocate(handle.rawValue, start, size) == 0 { return }
            guard errno == EOPNOTSUPP else {
                throw ImageError.system(Errno(rawValue: errno), path: path, offset: offset, "set space aside")
            }
        }
        var position = offset
        var left = count
        while left > 0 {
            let piece = min(left, UInt64(Self.zeros.count))
            // Safe: integers have no bytes that are not set.
            unsafe try write(Self.zeros.span.bytes.extracting(first: Int(piece)), at: position, stored: nil)
            position = position.advanced(by: piece)
            left -= piece
        }
    }

    /// Makes it `size` bytes long: what is past that is cut off, what is missing is a hole.
    func setSize(_ size: UInt64) throws(ImageError) {
        guard let end = off_t(exactly: size), ftruncate(handle.rawValue, end) == 0 else {
            throw ImageError.system(Errno(rawValue: errno), path: path, "make it \(counted(size, "byte")) long")
        }
    }

    /// Gives it the owner, the permissions and the attributes of the file `name` of its folder, open as `folder`, that it
    /// is to replace: as far as is permitted, and never more than that one gave. Does nothing where there is none.
    func keepAttributes(of name: FilePath.Component, in folder: FileDescriptor) throws(ImageError) {
        let name = FilePath(root: nil, [name])
        // Safe: the string ends in NUL.
        let result = unsafe name.withPlatformString {
            unsafe clinux_keep_attributes(folder.rawValue, $0, handle.rawValue)
        }
        guard result >= 0 else {
            throw ImageError.system(Errno(rawValue: errno), path: path, "keep the permissions of what is replaced")
        }
    }

    /// Waits until all of it is on the disk.
    func flush() throws(ImageError) {
        guard fsync(handle.rawValue) == 0 else {
            throw ImageError.system(Errno(rawValue: errno), path: path, "flush")
        }
    }

    /// Gives it a hidden name in its folder, open as `folder`, if it has none.
    func giveHiddenName(in folder: FileDescriptor) throws(ImageError) {
        guard hidden.withLock({ $0 == nil }) else { return }
        let name = HiddenName(for: location)
        // Safe: the string ends in NUL.
        let result = unsafe name.location.lastName.withPlatformString {
            unsafe clinux_link_unnamed(handle.rawValue, folder.rawValue, $0)
        }
        guard result == 0 else { throw ImageError.system(Errno(rawValue: errno), path: path, "name the file") }
        hidden.withLock { $0 = name }
    }

    /// Gives it the place `name` in its folder, open as `folder`, instead of its hidden name.
    func rename(to name: FilePath.Component, in folder: FileDescriptor, replaces: Bool) throws(ImageError) {
        let from = hidden.withLock { $0?.location.lastName ?? "" }
        let to = FilePath(root: nil, [name])
        // Safe: the strings end in NUL.
        let error: CInt = unsafe from.withPlatformString { from in
            unsafe to.withPlatformString { to in
                if !replaces {
                    if unsafe clinux_rename_new(folder.rawValue, from, to) == 0 { return 0 }
                    // A file system that cannot do it at once.
                    guard errno == EINVAL else { return errno }
                    if unsafe faccessat(folder.rawValue, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0 { return EEXIST }
                }
                return unsafe renameat(folder.rawValue, from, folder.rawValue, to) == 0 ? 0 : errno
            }
        }
        guard error == 0 else {
            throw ImageError(
                .system(errno: error), path: path, "take the place: \(Errno(rawValue: error))",
                hint: error == EEXIST ? "--force replaces it" : nil)
        }
        hidden.withLock { $0 = nil }
    }
}

/// A name for a file that is not finished: it is not listed, and goes when a signal ends the process.
private struct HiddenName {
    let location: FilePath
    private let removal: RemovedAtEnding

    /// A name beside `location` that nothing has.
    init(for location: FilePath) {
        let number = String(UInt64.random(in: .min ... .max), radix: 36)
        self.location = location.removingLastComponent().appending(".rblock-\(number)")
        removal = RemovedAtEnding(self.location)
    }
}

extension FilePath {
    /// The last component, as a path of its own.
    fileprivate var lastName: FilePath { FilePath(root: nil, lastComponent.map { [$0] } ?? []) }

    /// Removes the file that has this name, if there is one.
    func unlink() {
        // Safe: the string ends in NUL.
        unsafe _ = withPlatformString { unsafe Glibc.unlink($0) }
    }
}

extension FileDescriptor {
    /// Writes all of `bytes` at `offset`; errors are about `path`.
    func write(_ bytes: RawSpan, at offset: HostOffset, of path: String) throws(ImageError) {
        guard let start = Int64(exactly: offset.rawValue), start <= .max - Int64(bytes.byteCount) else {
            throw ImageError(.system(errno: EFBIG), path: path, offset: offset, "no file reaches this offset")
        }
        // Safe: the pointer is used in this call only.
        try unsafe bytes.withUnsafeBytes { (bytes) throws(ImageError) in
            var done = 0
            while done < bytes.count {
                do {
                    let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
                    done += unsafe try write(toAbsoluteOffset: start + Int64(done), rest)
                } catch {
                    throw ImageError.system(error, path: path, offset: offset.advanced(by: UInt64(done)), "write")
                }
            }
        }
    }
}
