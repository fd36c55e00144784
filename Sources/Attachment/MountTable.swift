import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// What is mounted where, as this process sees it.
struct MountTable {
    /// One mount.
    struct Entry {
        /// Its number, and that of the mount that it lies upon.
        var id: Int
        var parent: Int
        /// The number of the device, as "7:0".
        var device: String
        var mountpoint: FilePath
        var type: String
        /// What was mounted, as mount(8) was given it.
        var source: String
        /// Whether nothing can be written to it.
        var isReadOnly: Bool
    }

    /// The mounts, the newest last.
    let entries: [Entry]

    /// As it is now. Throws where it cannot be read.
    init() throws(ImageError) {
        guard let table = try smallFile("/proc/self/mountinfo") else {
            throw ImageError(
                .system(errno: ENOENT), path: "/proc/self/mountinfo", "what is mounted cannot be known without it",
                hint: "mount /proc")
        }
        entries = table.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
            guard fields.count > 6, let id = Int(String(decoding: fields[0], as: UTF8.self)),
                let parent = Int(String(decoding: fields[1], as: UTF8.self)),
                let dash = fields[6...].firstIndex(of: [UInt8(ascii: "-")]),
                dash + 2 < fields.count
            else { return nil }
            // Of the mount, and of the file system.
            let options = [fields[5], fields[fields.endIndex - 1]].map { $0.split(separator: UInt8(ascii: ",")) }
            return Entry(
                id: id, parent: parent, device: String(decoding: fields[2], as: UTF8.self),
                mountpoint: FilePath(bytes: Self.plain(fields[4])),
                type: String(decoding: fields[dash + 1], as: UTF8.self), source: nameText(Self.plain(fields[dash + 2])),
                isReadOnly: options.contains { $0.contains(Array("ro".utf8)[...]) })
        }
    }

    /// The mount that a path to `mountpoint` leads to, an absolute path without links; nil where nothing is mounted there.
    func uppermost(at mountpoint: FilePath) -> Entry? {
        let here = entries.filter { $0.mountpoint == mountpoint }
        return here.last { entry in !here.contains { $0.parent == entry.id && $0.id != entry.id } }
    }

    /// Undoes the escapes of mountinfo: a backslash and three octal digits.
    private static func plain(_ field: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        var rest = field
        while let byte = rest.popFirst() {
            let digits = String(decoding: rest.prefix(3), as: UTF8.self)
            if byte == UInt8(ascii: "\\"), let escaped = UInt8(digits, radix: 8) {
                result.append(escaped)
                rest = rest.dropFirst(3)
            } else {
                result.append(byte)
            }
        }
        return result
    }

    /// Unmounts what is at `mountpoint`, by umount2(2); `isLazy`: it goes out of sight, and ends when its last file is closed.
    static func unmount(_ mountpoint: FilePath, isLazy: Bool) throws(ImageError) {
        let flags = CInt(UMOUNT_NOFOLLOW) | (isLazy ? CInt(MNT_DETACH) : 0)
        // Safe: a string of ours.
        guard unsafe mountpoint.withPlatformString({ unsafe umount2($0, flags) }) == 0 else {
            throw systemError("unmount it", path: mountpoint.text)
        }
    }
}

/// That the system refused `action`, for the reason in errno.
func systemError(_ action: ErrorText, path: String, hint: String? = nil) -> ImageError {
    let number = errno
    return ImageError(.system(errno: number), path: path, "\(action): \(Errno(rawValue: number))", hint: hint)
}
