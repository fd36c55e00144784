import BlockImage
import CLinux
import Glibc
import GuestFiles
import HostStorage
import SystemPackage

/// A file of the host. Links are copied, and not followed; every file is opened by its name in its directory, which is open.
final class HostSource: CopySource {
    /// The most bytes of the name of an attribute, and of its value: as Linux has it.
    private static let attributeLimit = 1 << 16

    let name: [UInt8]
    let text: String
    let isOfTarget = false
    private let folder: FileDescriptor
    private let state: stat
    /// Whether `folder` is to be closed with this.
    private let ownsFolder: Bool

    /// The file at `path`; a link that is named is followed where `followsLink`. Throws where there is none.
    convenience init(at path: FilePath, followsLink: Bool) throws(ImageError) {
        let folder = try Self.opened(path.text) {
            // Safe: the string ends in NUL and is there during the call.
            unsafe path.removingLastComponent().isEmpty
                ? open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                : path.removingLastComponent().withPlatformString {
                    unsafe open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                }
        }
        let name = path.lastComponent.map { FilePath(root: nil, [$0]).bytes } ?? Array(".".utf8)
        try self.init(name, text: path.text, in: folder, followsLink: followsLink, ownsFolder: true)
    }

    private init(
        _ name: [UInt8], text: String, in folder: FileDescriptor, followsLink: Bool, ownsFolder: Bool
    ) throws(ImageError) {
        (self.name, self.text, self.folder, self.ownsFolder) = (name, text, folder, ownsFolder)
        var state = stat()
        let isThere = unsafe Self.withName(name) { name in
            // Safe: both are there during the call.
            unsafe fstatat(folder.rawValue, name, &state, followsLink ? 0 : AT_SYMLINK_NOFOLLOW) == 0
        }
        self.state = state
        guard isThere else { throw Self.fault(text) }
    }

    deinit { if ownsFolder { try? folder.close() } }

    var identity: [UInt64] { [UInt64(state.st_dev), UInt64(state.st_ino)] }

    func status() throws(ImageError) -> GuestStatus {
        let (major, minor) = (clinux_major(UInt64(state.st_rdev)), clinux_minor(UInt64(state.st_rdev)))
        let kind: GuestFileKind =
            switch state.st_mode & S_IFMT {
            case S_IFREG: .regular
            case S_IFDIR: .directory
            case S_IFLNK: .link
            case S_IFCHR: .characterDevice(major: major, minor: minor)
            case S_IFBLK: .blockDevice(major: major, minor: minor)
            case S_IFIFO: .fifo
            default: .socket
            }
        func time(_ time: timespec) -> FileTime { FileTime(seconds: Int64(time.tv_sec), nanoseconds: time.tv_nsec) }
        return GuestStatus(
            kind: kind, permissions: UInt16(state.st_mode & 0o7777), userID: state.st_uid, groupID: state.st_gid,
            size: UInt64(clamping: state.st_size),
            allocatedSize: min(UInt64(clamping: state.st_blocks), UInt64(Int64.max) / 512) * 512,
            linkCount: UInt32(clamping: state.st_nlink), modified: time(state.st_mtim), accessed: time(state.st_atim))
    }

    func content() throws(ImageError) -> any GuestFileContent {
        try HostContent(handle(O_RDONLY | O_NONBLOCK), path: text)
    }

    func target() throws(ImageError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
        let (folder, size) = (folder.rawValue, bytes.count)
        let count = unsafe Self.withName(name) { name in
            // Safe: readlinkat writes at most `size` bytes, and those are there.
            unsafe bytes.withUnsafeMutableBytes { space in
                guard let start = space.baseAddress else { return -1 }
                return unsafe readlinkat(folder, name, start.assumingMemoryBound(to: CChar.self), size)
            }
        }
        guard count >= 0 else { throw Self.fault(text) }
        return Array(bytes.prefix(count))
    }

    func attributes() throws(ImageError) -> [GuestAttribute] {
        let folder = folder.rawValue
        let names = unsafe try Self.bytes(text) { space, size in
            unsafe Self.withName(name) { unsafe clinux_attribute_names(folder, $0, space, size) }
        }
        var found: [GuestAttribute] = []
        for attribute in (names ?? []).split(separator: 0).map(Array.init) {
            let value = unsafe try Self.bytes(text) { space, size in
                unsafe Self.withName(name) { name in
                    unsafe Self.withName(attribute) { unsafe clinux_attribute(folder, name, $0, space, size) }
                }
            }
            // Another program may have removed it.
            if let value { found.append(GuestAttribute(name: attribute, value: value)) }
        }
        return found
    }

    func forEachChild(onError: (ImageError) -> Void, _ body: (any CopySource) throws -> Void) throws {
        let inside = try handle(O_RDONLY | O_DIRECTORY)
        defer { try? inside.close() }
        let names = try FolderListing(FilePath(text: "/proc/self/fd/\(inside.rawValue)")).entries.map(\.name)
        for name in names.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            let child: HostSource
            do throws(ImageError) {
                child = try HostSource(
                    name, text: "\(text)/\(nameText(name))", in: inside, followsLink: false, ownsFolder: false)
            } catch {
                onError(error)
                continue
            }
            try body(child)
        }
    }

    // MARK: System calls

    /// Opens it; another file that took its place meanwhile is refused.
    private func handle(_ flags: CInt) throws(ImageError) -> FileDescriptor {
        let folder = folder.rawValue
        let handle = try Self.opened(text) {
            unsafe Self.withName(name) { unsafe openat(folder, $0, flags | O_CLOEXEC) }
        }
        var now = stat()
        // Safe: the structure is there during the call.
        guard unsafe fstat(handle.rawValue, &now) == 0, now.st_ino == state.st_ino, now.st_dev == state.st_dev else {
            try? handle.close()
            throw ImageError(.system(errno: ESTALE), path: text, "was replaced meanwhile")
        }
        return handle
    }

    private static func opened(_ text: String, _ work: () -> CInt) throws(ImageError) -> FileDescriptor {
        let handle = work()
        guard handle >= 0 else { throw fault(text) }
        return FileDescriptor(rawValue: handle)
    }

    /// What `call` fills a buffer with; nil where there is nothing, or the file system has none.
    private static func bytes(
        _ text: String, _ call: (UnsafeMutableRawPointer?, Int) -> Int
    ) throws(ImageError) -> [UInt8]? {
        var space = [UInt8](repeating: 0, count: attributeLimit)
        // Safe: the call writes at most as many bytes as there are.
        let count = unsafe space.withUnsafeMutableBytes { unsafe call($0.baseAddress, $0.count) }
        guard count >= 0 else {
            if [ENOTSUP, ENODATA, EPERM].contains(errno) { return nil }
            throw fault(text)
        }
        return Array(space.prefix(count))
    }

    private static func withName<Result>(_ name: [UInt8], _ work: (UnsafePointer<CChar>) -> Result) -> Result {
        let text = (name + [0]).map(CChar.init(bitPattern:))
        // Safe: it ends in NUL and is there during the call; an array with an element has an address.
        return unsafe text.withUnsafeBufferPointer { unsafe work($0.baseAddress.unsafelyUnwrapped) }
    }

    private static func fault(_ text: String) -> ImageError {
        let error = Errno(rawValue: errno)
        return ImageError(.system(errno: error.rawValue), path: text, "\(error)")
    }
}

/// The content of a file of the host. May be used from any thread.
final class HostContent: GuestFileContent {
    let size: UInt64
    private let handle: FileDescriptor
    private let path: String

    /// That of `handle`, a regular file, which is closed with this.
    init(_ handle: FileDescriptor, path: String) throws(ImageError) {
        var state = stat()
        // Safe: the structure is there during the call.
        guard unsafe fstat(handle.rawValue, &state) == 0 else {
            try? handle.close()
            throw ImageError(.system(errno: EIO), path: path, "cannot be looked at")
        }
        (self.handle, self.path, size) = (handle, path, UInt64(clamping: state.st_size))
    }

    deinit { try? handle.close() }

    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        var rest = count
        while rest > 0 {
            let position = Int64(clamping: offset + UInt64(count - rest))
            let descriptor = handle.rawValue
            // Safe: pread writes at most `rest` bytes, for which there is space, and those are counted that it wrote.
            let got = unsafe output.withUnsafeMutableBytes { space, used in
                let got = unsafe pread(descriptor, space.baseAddress?.advanced(by: used), rest, off_t(position))
                used += max(got, 0)
                return got
            }
            if got < 0, errno == EINTR { continue }
            guard got > 0 else {
                let error = got == 0 ? Errno.staleNFSFileHandle : Errno(rawValue: errno)
                throw ImageError(
                    .system(errno: error.rawValue), path: path,
                    got == 0 ? "became shorter while it was read" : "\(error)")
            }
            rest -= got
        }
    }

    /// Throws where it has become shorter.
    private func checkSize() throws(ImageError) {
        var state = stat()
        // Safe: the structure is there during the call.
        guard unsafe fstat(handle.rawValue, &state) == 0, UInt64(clamping: state.st_size) >= size else {
            throw ImageError(.system(errno: ESTALE), path: path, "became shorter while it was read")
        }
    }

    func run(at offset: UInt64, limit: UInt64) throws(ImageError) -> GuestRun {
        let end = min(size, offset + limit)
        let data = lseek(handle.rawValue, off_t(clamping: offset), clinux_SEEK_DATA)
        // A file system that knows no holes, and the end of the last data.
        guard data >= 0 else {
            let isHole = errno == ENXIO
            if isHole { try checkSize() }
            return GuestRun(isData: !isHole, count: end - offset)
        }
        guard UInt64(data) <= offset else { return GuestRun(isData: false, count: min(UInt64(data), end) - offset) }
        let hole = lseek(handle.rawValue, off_t(clamping: offset), clinux_SEEK_HOLE)
        return GuestRun(isData: true, count: (hole > data ? min(UInt64(hole), end) : end) - offset)
    }
}
