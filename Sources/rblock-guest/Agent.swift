import CGuest
import Glibc
import GuestProtocol

/// What the agent has open, and what it answers.
final class Agent {
    /// The most files and directories that are open at a time.
    private static let handleLimit = 4096

    private var mounts: [GuestMountID: MountedTree] = [:]
    private var files: [GuestHandle: Descriptor] = [:]
    private var listings: [GuestHandle: DirectoryListing] = [:]
    private var lastNumber: UInt32 = 0

    /// Does what `request` asks for.
    func answer(_ request: GuestRequest) -> GuestReply {
        do throws(GuestFailure) {
            return try reply(to: request)
        } catch {
            return .failure(error)
        }
    }

    private func reply(to request: GuestRequest) throws(GuestFailure) -> GuestReply {
        switch request {
        case .mount(let disk, let type, let options, let isWritable):
            return .number(try mount(disk, type, options, isWritable: isWritable))
        case .unmount(let mount):
            try unmount(mount)
            return .done
        case .usage(let mount): return .counts(try usage(of: try tree(mount)))
        case .status(let path): return .record(try tree(path).record(of: path.bytes))
        case .list(let path):
            let directory = try tree(path).open(
                path.bytes, flags: O_RDONLY | O_DIRECTORY, isPath: false, "open the directory")
            let handle = try newHandle()
            listings[handle] = DirectoryListing(directory)
            return .number(handle.number)
        case .entries(let handle):
            guard let listing = listings[handle] else { throw GuestFailure(EBADF, "list a directory") }
            return try listing.next()
        case .target(let path): return .bytes(try target(of: try tree(path).find(path.bytes).number))
        case .attributeNames(let path): return .names(try tree(path).find(path.bytes).attributeNames())
        case .attribute(let path, let name): return .bytes(try tree(path).find(path.bytes).attribute(name))
        case .open(let path, let isWritable):
            let file = try tree(path).openRegular(path.bytes, isWritable: isWritable)
            let handle = try newHandle()
            files[handle] = file
            return .number(handle.number)
        case .read(let handle, let count, let offset):
            return .bytes(try file(handle).bytes(Int(count), at: offset))
        case .runs(let handle, let offset): return .runs(try file(handle).runs(from: offset))
        case .close(let handles):
            for handle in handles { (files[handle], listings[handle]) = (nil, nil) }
            return .done
        case .synchronize(let mount):
            try synchronize(mount)
            return .done
        case .powerOff:
            for mount in Array(mounts.keys) { try unmount(mount) }
            return .done
        default: return try change(request)
        }
    }

    private func change(_ request: GuestRequest) throws(GuestFailure) -> GuestReply {
        switch request {
        case .make(let path, let mode, let major, let minor):
            let tree = try tree(path)
            try tree.make(path.bytes, mode: mode, major: major, minor: minor)
            return .record(try tree.record(of: path.bytes))
        case .makeLink(let path, let target):
            let tree = try tree(path)
            try tree.makeLink(path.bytes, target: target)
            return .record(try tree.record(of: path.bytes))
        case .makeName(let path, let file):
            let tree = try tree(path)
            guard file.mount == path.mount else { throw GuestFailure(EXDEV, "link it") }
            try tree.makeName(path.bytes, of: file.bytes)
            return .record(try tree.record(of: path.bytes))
        case .write(let handle, let offset, let bytes): try file(handle).write(bytes, at: offset)
        case .setSize(let path, let size): try tree(path).setSize(size, of: path.bytes)
        case .setMode(let path, let mode): try tree(path).setMode(mode, of: path.bytes)
        case .setOwner(let path, let user, let group): try tree(path).setOwner(user, group, of: path.bytes)
        case .setTimes(let path, let accessed, let modified):
            try tree(path).setTimes(accessed, modified, of: path.bytes)
        case .setAttribute(let path, let name, let value):
            try tree(path).find(path.bytes).setAttribute(name, value)
        case .removeAttribute(let path, let name): try tree(path).find(path.bytes).removeAttribute(name)
        case .remove(let path, let isDirectory): try tree(path).remove(path.bytes, isDirectory: isDirectory)
        case .rename(let path, let other):
            guard other.mount == path.mount else { throw GuestFailure(EXDEV, "rename it") }
            try tree(path).rename(path.bytes, to: other.bytes)
        case .fill(let path, let bytes): try tree(path).openRegular(path.bytes, isWritable: true).write(bytes, at: 0)
        case .batch(let requests): return try batch(requests)
        default: throw GuestFailure(ENOSYS, "do what is not known")
        }
        return .done
    }

    private func batch(_ requests: [GuestRequest]) throws(GuestFailure) -> GuestReply {
        for request in requests { _ = try reply(to: request) }
        switch requests.first {
        case .make(let path, _, _, _), .makeLink(let path, _): return .record(try tree(path).record(of: path.bytes))
        default: return .done
        }
    }

    private func mount(
        _ disk: UInt32, _ type: String, _ options: String, isWritable: Bool
    ) throws(GuestFailure) -> UInt32 {
        guard let device = Disks.device(disk) else { throw GuestFailure(ENODEV, "find the disk") }
        if type == "btrfs" {
            // A file system on several disks is there when all are known.
            for path in Disks.all() { _ = unsafe cguest_scan_btrfs(path) }
        }
        lastNumber += 1
        mounts[GuestMountID(lastNumber)] = try MountedTree(
            device: device, in: "/mnt/\(lastNumber)", type: type, options: options, isWritable: isWritable)
        return lastNumber
    }

    /// Closes what is open of all mounts: they all end at once.
    private func unmount(_ mount: GuestMountID) throws(GuestFailure) {
        let folder = try tree(mount).folder
        files.removeAll()
        listings.removeAll()
        try synchronize(mount)
        mounts[mount] = nil
        var result: CInt = -1
        // What the kernel still does in the background with a file may keep it busy for a moment.
        for _ in 0..<50 {
            // Safe: a string of ours.
            result = unsafe umount2(folder, 0)
            guard result != 0, errno == EBUSY else { break }
            usleep(100_000)
        }
        try check(result, "unmount it")
        unsafe rmdir(folder)
    }

    private func synchronize(_ mount: GuestMountID) throws(GuestFailure) {
        let tree = try tree(mount)
        let root = try tree.open([], flags: O_RDONLY | O_DIRECTORY, isPath: false, "open its root")
        try check(cguest_sync_file_system(root.number), "store what was written")
    }

    private func usage(of tree: MountedTree) throws(GuestFailure) -> GuestCounts {
        var found = statvfs()
        // Safe: fstatvfs fills a structure of ours.
        try check(unsafe fstatvfs(tree.root.number, &found), "ask how much it holds")
        return GuestCounts(
            blockSize: UInt64(found.f_frsize), blocks: UInt64(found.f_blocks), freeBlocks: UInt64(found.f_bfree),
            availableBlocks: UInt64(found.f_bavail), files: UInt64(found.f_files), freeFiles: UInt64(found.f_ffree))
    }

    private func newHandle() throws(GuestFailure) -> GuestHandle {
        guard files.count + listings.count < Self.handleLimit else { throw GuestFailure(EMFILE, "open it") }
        repeat {
            lastNumber &+= 1
        } while files[GuestHandle(lastNumber)] != nil
            || listings[GuestHandle(lastNumber)] != nil
        return GuestHandle(lastNumber)
    }

    private func tree(_ mount: GuestMountID) throws(GuestFailure) -> MountedTree {
        guard let tree = mounts[mount] else { throw GuestFailure(ENOTCONN, "find the file system") }
        return tree
    }

    private func tree(_ path: GuestPath) throws(GuestFailure) -> MountedTree { try tree(path.mount) }

    private func file(_ handle: GuestHandle) throws(GuestFailure) -> Descriptor {
        guard let file = files[handle] else { throw GuestFailure(EBADF, "find the open file") }
        return file
    }
}
