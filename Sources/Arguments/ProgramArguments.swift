import BlockImage
import CLinux

/// What this process was started with. `CommandLine.arguments` is empty where /proc is not mounted, and has replaced what
/// is not UTF-8.
package enum ProgramArguments {
    /// Every argument as the bytes that it is; the first is the name by which the program was called.
    package static let bytes: [[UInt8]] = (0..<clinux_argument_count()).compactMap { index in
        // Safe: it is NULL, or ends in NUL and is there until the process ends.
        guard let text = unsafe clinux_argument(index) else { return nil }
        var bytes: [UInt8] = []
        var place = unsafe text
        while unsafe place.pointee != 0 {
            bytes.append(unsafe UInt8(bitPattern: place.pointee))
            unsafe place += 1
        }
        return bytes
    }

    /// The arguments behind the program's name, as they are parsed: the text of each, which has its bytes (see `nameText`).
    package static let strings: [String] = bytes.dropFirst().map { nameText($0) }

    /// Why nothing can be done here, for a process that has no /proc; nil: it has. Files are opened by way of it, and
    /// libdispatch traps without it as soon as it has a thread, and with it whatever is async.
    package static var missingProc: String? {
        guard clinux_has_proc() == 0 else { return nil }
        return "/proc is not mounted, and nothing can be done without it; 'mount -t proc proc /proc' mounts it"
    }
}
