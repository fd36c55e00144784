import BlockImage
import Catalog
import Glibc
import GuestFiles
import HostStorage
import SystemPackage

/// The copying of files of a guest to a directory of the host. Every directory is opened by its name in the one above, and no link
/// is followed: what a guest calls its files leads nowhere else.
final class GuestExtraction {
    /// The most bytes that are read at once.
    private static let pieceSize = 1 << 20
    /// How deep directories may be in each other.
    private static let depthLimit = 512

    private let tree: GuestTree
    private let keepsAll: Bool
    private let bar: ProgressBar?
    private let onError: (ImageError) -> Void
    private let buffer = AlignedBuffer(capacity: GuestExtraction.pieceSize)
    private let isRoot = geteuid() == 0
    /// The files that are read, which must not be written to.
    private let sources: Set<FileIdentity>
    /// The directories that were copied: a damaged one may be in itself, or in two others.
    private var seen: Set<[UInt64]> = []
    /// How many files were copied, and their bytes.
    private(set) var files = 0
    private(set) var size: UInt64 = 0

    /// Of files of `tree`; `keepsAll`: with owners, times and devices, as far as this user may. `onError` gets what cannot be copied.
    /// `sources`: the files of the image.
    init(
        of tree: GuestTree, sources: Set<FileIdentity>, keepsAll: Bool, bar: ProgressBar?,
        onError: @escaping (ImageError) -> Void
    ) {
        (self.tree, self.sources, self.keepsAll, self.bar, self.onError) = (tree, sources, keepsAll, bar, onError)
    }

    /// Copies `node`, and all below it, to `path`. Throws where nothing of it can be copied.
    func copy(_ node: GuestTree.Node, to path: FilePath) throws {
        let parent = path.removingLastComponent()
        let folder = try Self.directory(parent.isEmpty ? "." : parent)
        defer { try? folder.close() }
        guard let name = path.lastComponent else {
            return try copyContents(of: node, into: folder, depth: 0)
        }
        guard name.kind == .regular else {
            let inside = try Self.directory(path)
            defer { try? inside.close() }
            return try copyContents(of: node, into: inside, depth: 0)
        }
        try copy(node, to: FilePath(root: nil, [name]).bytes, in: folder, depth: 0)
    }

    private static func directory(_ path: FilePath) throws(ImageError) -> FileDescriptor {
        do {
            return try FileDescriptor.open(path, .readOnly, options: [.directory, .closeOnExec])
        } catch {
            let number = (error as? Errno) ?? .ioError
            throw ImageError(.system(errno: number.rawValue), path: path.text, "\(number)")
        }
    }

    private func copy(_ node: GuestTree.Node, to name: [UInt8], in folder: FileDescriptor, depth: Int) throws {
        let status = try tree.status(of: node)
        files += 1
        switch status.kind {
        case .directory:
            guard depth < Self.depthLimit else {
                throw ImageError(.corrupt, path: node.text, "directories are in each other without an end")
            }
            guard seen.insert(tree.identity(of: node)).inserted else {
                throw ImageError(.corrupt, path: node.text, "is a directory that has another name, too")
            }
            var isNew = false
            unsafe try make(name, node) {
                isNew = unsafe mkdirat(folder.rawValue, $0, 0o700) == 0
                return isNew || errno == EEXIST
            }
            let inside = try open(name, in: folder, O_RDONLY | O_DIRECTORY, node)
            defer { try? inside.close() }
            try copyContents(of: node, into: inside, depth: depth + 1)
            // One that was there keeps its mode.
            if isNew || keepsAll { try finish(inside, status, node) }
        case .regular:
            // What is there already may be a device, a FIFO, or the image itself.
            let file = try openFile(name, in: folder, node)
            defer { try? file.close() }
            try empty(file, node)
            try write(try tree.open(node), to: file, node)
            try finish(file, status, node)
        case .link:
            let target = (try tree.target(of: node) + [0]).map(CChar.init(bitPattern:))
            unsafe try make(name, node) { name in
                if unsafe symlinkat(target, folder.rawValue, name) == 0 { return true }
                guard errno == EEXIST, unsafe unlinkat(folder.rawValue, name, 0) == 0 else { return false }
                return unsafe symlinkat(target, folder.rawValue, name) == 0
            }
            try finishLink(name, in: folder, status, node)
        case .characterDevice, .blockDevice, .fifo, .socket: try copySpecial(node, status, to: name, in: folder)
        }
    }

    private func copyContents(of node: GuestTree.Node, into folder: FileDescriptor, depth: Int) throws {
        guard try tree.status(of: node).kind == .directory else {
            throw ImageError(.system(errno: ENOTDIR), path: node.text, "is no directory")
        }
        let listing = try tree.listing(of: node)
        for index in 0..<listing.count {
            do {
                let child = try tree.child(index, in: listing, of: node)
                try copy(child, to: child.path.last ?? [], in: folder, depth: depth)
            } catch let error as ImageError {
                onError(error)
            }
        }
    }

    private func copySpecial(
        _ node: GuestTree.Node, _ status: GuestStatus, to name: [UInt8], in folder: FileDescriptor
    ) throws {
        let (kind, major, minor): (mode_t, UInt32, UInt32) =
            switch status.kind {
            case .characterDevice(let major, let minor): (S_IFCHR, major, minor)
            case .blockDevice(let major, let minor): (S_IFBLK, major, minor)
            case .fifo: (S_IFIFO, 0, 0)
            default: (0, 0, 0)
            }
        guard keepsAll, isRoot, kind != 0 else {
            return Failure.warn("\(node.text): is a device, FIFO or socket, and left out")
        }
        unsafe try make(name, node) { name in
            unsafe mknodat(folder.rawValue, name, kind | 0o600, Self.number(major, minor)) == 0
        }
        try finishLink(name, in: folder, status, node, mode: status.permissions)
    }

    private func write(_ content: any GuestFileContent, to file: FileDescriptor, _ node: GuestTree.Node) throws {
        let buffer = buffer
        var position: UInt64 = 0
        while position < content.size {
            let run = try content.run(at: position, limit: content.size - position)
            var rest = run.isData ? run.count : 0
            while rest > 0 {
                let count = Int(min(rest, UInt64(Self.pieceSize)))
                let start = position + run.count - rest
                try buffer.fill(count) { output throws(ImageError) in try content.read(count, at: start, into: &output)
                }
                do {
                    // Safe: the bytes are used in this call only.
                    _ = try unsafe buffer.bytes.withUnsafeBytes { bytes in
                        try unsafe file.writeAll(toAbsoluteOffset: Int64(clamping: start), bytes)
                    }
                } catch let error as Errno { throw fault(node, "write", error) }
                rest -= UInt64(count)
                size += UInt64(count)
                bar?.update(size)
            }
            position += run.count
        }
        guard ftruncate(file.rawValue, off_t(clamping: content.size)) == 0 else { throw fault(node, "write") }
    }

    private func openFile(
        _ name: [UInt8], in folder: FileDescriptor, _ node: GuestTree.Node
    ) throws -> FileDescriptor {
        do { return try open(name, in: folder, O_WRONLY | O_CREAT | O_NONBLOCK, node) } catch let error as ImageError {
            // A FIFO without a reader, and a link.
            guard error.code == .system(errno: ENXIO) || error.code == .system(errno: ELOOP) else { throw error }
            throw ImageError(.system(errno: EEXIST), path: node.text, "what is there already is no regular file")
        }
    }

    /// Has `file` be empty. Throws where it is no regular file, or one that is read.
    private func empty(_ file: FileDescriptor, _ node: GuestTree.Node) throws(ImageError) {
        guard let status = try? FileStatus(file), case .regular = status.kind else {
            throw ImageError(.system(errno: EEXIST), path: node.text, "what is there already is no regular file")
        }
        guard !sources.contains(status.identity) else {
            throw ImageError(.system(errno: EINVAL), path: node.text, "what is there already is the image that is read")
        }
        guard ftruncate(file.rawValue, 0) == 0 else { throw fault(node, "write") }
    }

    /// Gives `file`, which is open, what the guest says of it.
    private func finish(_ file: FileDescriptor, _ status: GuestStatus, _ node: GuestTree.Node) throws {
        if keepsAll, isRoot, fchown(file.rawValue, status.userID, status.groupID) != 0 { throw fault(node, "owner") }
        let mask = keepsAll ? 0 : Self.mask
        let mode = mode_t(status.permissions & (keepsAll && isRoot ? 0o7777 : 0o777)) & ~mask
        guard fchmod(file.rawValue, mode) == 0 else { throw fault(node, "mode") }
        guard keepsAll else { return }
        var times = Self.times(status)
        guard unsafe futimens(file.rawValue, &times) == 0 else { throw fault(node, "times") }
    }

    /// The same of what is not opened.
    private func finishLink(
        _ name: [UInt8], in folder: FileDescriptor, _ status: GuestStatus, _ node: GuestTree.Node, mode: UInt16? = nil
    ) throws {
        guard keepsAll else { return }
        var times = Self.times(status)
        unsafe try make(name, node) { name in
            if isRoot {
                guard unsafe fchownat(folder.rawValue, name, status.userID, status.groupID, AT_SYMLINK_NOFOLLOW) == 0
                else { return false }
            }
            if let mode, unsafe fchmodat(folder.rawValue, name, mode_t(mode), 0) != 0 { return false }
            return unsafe utimensat(folder.rawValue, name, &times, AT_SYMLINK_NOFOLLOW) == 0
        }
    }

    /// The number of a device as the kernel and glibc have it.
    private static func number(_ major: UInt32, _ minor: UInt32) -> dev_t {
        let (major, minor) = (UInt64(major), UInt64(minor))
        let low = (major & 0xfff) << 8 | (minor & 0xff)
        let high = (major >> 12) << 44 | (minor >> 8) << 20
        return dev_t(low | high)
    }

    private static let mask: mode_t = {
        let mask = umask(0)
        umask(mask)
        return mask
    }()

    private static func times(_ status: GuestStatus) -> [timespec] {
        [status.accessed ?? status.modified, status.modified].map {
            timespec(tv_sec: time_t($0.seconds), tv_nsec: $0.nanoseconds)
        }
    }

    private func open(
        _ name: [UInt8], in folder: FileDescriptor, _ flags: CInt, _ node: GuestTree.Node
    ) throws -> FileDescriptor {
        var handle: CInt = -1
        unsafe try make(name, node) { name in
            handle = unsafe openat(folder.rawValue, name, flags | O_NOFOLLOW | O_CLOEXEC, 0o600)
            return handle >= 0
        }
        return FileDescriptor(rawValue: handle)
    }

    /// Does `work` with `name`, as the system calls take it. Throws what errno says where that answers false.
    private func make(
        _ name: [UInt8], _ node: GuestTree.Node, _ work: (UnsafePointer<CChar>) -> Bool
    ) throws {
        let isName =
            !name.isEmpty && !name.contains(0) && !name.contains(UInt8(ascii: "/"))
            && name != Array(".".utf8) && name != Array("..".utf8)
        guard isName else { throw ImageError(.corrupt, path: node.text, "is no name of a file") }
        let text = (name + [0]).map(CChar.init(bitPattern:))
        // Safe: it ends in NUL and is there during the call.
        let isDone = unsafe text.withUnsafeBufferPointer { unsafe $0.baseAddress.map { unsafe work($0) } ?? false }
        guard isDone else { throw fault(node, "make") }
    }

    private func fault(_ node: GuestTree.Node, _ what: String, _ error: Errno? = nil) -> ImageError {
        let error = error ?? Errno(rawValue: errno)
        return ImageError(.system(errno: error.rawValue), path: node.text, "\(what): \(error)")
    }
}
