import BlockImage
import CLinux
import Glibc
import SystemPackage

/// The locks by which QEMU's programs keep out of each other's way (block/file-posix.c, RAW_LOCK_PERM_BASE and
/// RAW_LOCK_SHARED_BASE): byte 100 + i of the file is read-locked by who uses the permission i, byte 200 + i by who does not
/// share it. They hold until the opening of the file ends.
struct ImageLocks {
    /// QEMU's permissions (BLK_PERM_…).
    private enum Permission {
        static let read: off_t = 0
        static let write: off_t = 1
        static let resize: off_t = 3
    }

    private let used: [off_t]
    private let unshared: [off_t]

    /// Of an image that is written to, and that has its size changed: as QEMU opens one for a machine.
    static let writing = ImageLocks(
        used: [Permission.read, Permission.write, Permission.resize], unshared: [Permission.write, Permission.resize])
    /// Of an image under one that is written to: it must stay as it is. That it is read is not said, as it keeps no program out.
    static let base = ImageLocks(used: [], unshared: [Permission.write, Permission.resize])

    /// Takes them on the file that is open as `descriptor`. Throws `system` with EBUSY where another program's are in the way;
    /// then none are taken.
    func take(_ descriptor: CInt, path: String) throws(ImageError) {
        let bytes = used.map { 100 + $0 } + unshared.map { 200 + $0 }
        for byte in bytes where clinux_lock_shared(descriptor, byte) != 0 {
            let code = errno
            giveBack(descriptor)
            throw code == EAGAIN || code == EACCES
                ? busy(descriptor, path)
                : ImageError(
                    .system(errno: code), path: path,
                    "cannot be locked, and so other programs cannot be kept from it: \(Errno(rawValue: code))",
                    hint: "where its file system has no locks, --no-lock does without")
        }
        // What they use must be shared here, and what is used here they must share.
        let conflicts = unshared.map { 100 + $0 } + used.map { 200 + $0 }
        // The locks of this opening of the file do not count.
        guard conflicts.contains(where: { clinux_is_locked(descriptor, $0, 1) == 1 }) else { return }
        giveBack(descriptor)
        throw busy(descriptor, path)
    }

    private func giveBack(_ descriptor: CInt) {
        for byte in used.map({ 100 + $0 }) + unshared.map({ 200 + $0 }) { _ = clinux_unlock(descriptor, byte) }
    }

    private func busy(_ descriptor: CInt, _ path: String) -> ImageError {
        let users = fileUsers(of: path)
        let names = users.isEmpty ? "another program" : users.joined(separator: ", ")
        return ImageError(.system(errno: EBUSY), path: path, "\(names) has it in use, and locked")
    }
}

/// The processes, but this one, that have the file at `path` open, as "qemu-system-x86 (process 12)": those that this process may
/// look at. Asks for no more than names: other files that they have open may be those of a mount that this process serves.
private func fileUsers(of path: String) -> [String] {
    let wanted = path.nameBytes
    let entries = (try? FolderListing("/proc"))?.entries ?? []
    return entries.compactMap { entry -> String? in
        guard let pid = pid_t(nameText(entry.name)), pid != getpid() else { return nil }
        let folder = FilePath("/proc/\(pid)/fd")
        let files = (try? FolderListing(folder))?.entries ?? []
        guard files.contains(where: { isLink(folder.appending(nameText($0.name)), to: wanted) }) else { return nil }
        let name = (try? smallFile(FilePath("/proc/\(pid)/comm"))) ?? []
        return "\(String(decoding: name.filter { $0 >= 0x20 }, as: UTF8.self)) (process \(pid))"
    }
}

private func isLink(_ path: FilePath, to target: [UInt8]) -> Bool {
    var found = [CChar](repeating: 0, count: target.count + 1)
    // Safe: readlink writes at most as many bytes as the array has.
    let count = unsafe path.withPlatformString { unsafe readlink($0, &found, found.count) }
    return count == target.count && zip(found, target).allSatisfy { UInt8(bitPattern: $0) == $1 }
}
