import Glibc
import SystemPackage

/// One mount, as the kernel's table of mounts shows it (proc(5), /proc/self/mountinfo).
public struct MountedFileSystem: Hashable, Sendable {
    /// Its device number, as "0:57".
    public let device: String
    /// Its type, as "ext4" or "fuse.rblockfs".
    public let type: String

    /// What is mounted uppermost at `mountpoint`, an absolute path without links; nil when nothing is, or the table
    /// cannot be read. Callable from any thread; never touches the mount itself.
    public init?(at mountpoint: FilePath) {
        // Safe: a string of ours.
        let table = unsafe Glibc.open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)
        guard table >= 0 else { return nil }
        defer { close(table) }
        self.init(at: mountpoint, in: readAll(table))
    }

    /// The same in the text of a table: `36 35 0:57 / /mnt ro,nosuid shared:1 - fuse.rblockfs source ro`, with any
    /// number of fields before the "-".
    init?(at mountpoint: FilePath, in table: [UInt8]) {
        let wanted = bytes(of: mountpoint)
        for line in table.split(separator: UInt8(ascii: "\n")).reversed() {
            let fields = line.split(separator: UInt8(ascii: " "))
            guard fields.count > 6, unescape(fields[4]) == wanted else { continue }
            guard let dash = fields[6...].firstIndex(of: [UInt8(ascii: "-")]), dash + 1 < fields.count else {
                return nil
            }
            device = String(decoding: fields[2], as: UTF8.self)
            type = String(decoding: fields[dash + 1], as: UTF8.self)
            return
        }
        return nil
    }

    /// Where file systems of a type are mounted, as absolute paths without links. Callable from any thread; touches
    /// none of them.
    public static func mountpoints(ofType type: String) -> [FilePath] {
        // Safe: a string of ours.
        let table = unsafe Glibc.open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC)
        guard table >= 0 else { return [] }
        defer { close(table) }
        return mountpoints(ofType: type, in: readAll(table))
    }

    /// The same in the text of a table.
    static func mountpoints(ofType type: String, in table: [UInt8]) -> [FilePath] {
        table.split(separator: UInt8(ascii: "\n")).compactMap { line in
            let fields = line.split(separator: UInt8(ascii: " "))
            guard fields.count > 6, let dash = fields[6...].firstIndex(of: [UInt8(ascii: "-")]),
                dash + 1 < fields.count, fields[dash + 1].elementsEqual(type.utf8)
            else { return nil }
            let name = unescape(fields[4]).map { CChar(bitPattern: $0) } + [0]
            // Safe: the array ends in NUL.
            return unsafe name.withUnsafeBufferPointer { unsafe FilePath(platformString: $0.baseAddress!) }
        }
    }

    /// Raises (or lowers) the mount's read-ahead to `kibibytes`, and answers whether this process may: only root may,
    /// and the kernel's 128 KiB are a third of the speed that sequential reads can have.
    public func setReadAhead(kibibytes: Int) -> Bool {
        // Safe: the path is a string of ours, and write reads as many bytes as the array has.
        let setting = unsafe Glibc.open("/sys/class/bdi/\(device)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
        guard setting >= 0 else { return false }
        defer { close(setting) }
        let text = Array("\(kibibytes)\n".utf8)
        return unsafe text.withUnsafeBytes { unsafe write(setting, $0.baseAddress, $0.count) } == text.count
    }
}

/// The bytes of `path`.
private func bytes(of path: FilePath) -> [UInt8] {
    // Safe: a platform string has `length` bytes before its NUL.
    unsafe path.withPlatformString { text in
        (0..<path.length).map { index in unsafe UInt8(bitPattern: text[index]) }
    }
}

/// Undoes the escapes of mountinfo: a backslash and three octal digits stand for space, tab, newline or backslash.
private func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
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
