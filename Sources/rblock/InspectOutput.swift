import BlockImage
import Glibc
import HostStorage
import ImageTools
import SystemPackage

/// What standard output can show.
enum TerminalStyle {
    /// Colours only on a terminal, unless NO_COLOR says otherwise (no-color.org), and as many columns as that has.
    static var ofStandardOutput: TextStyle {
        guard isatty(STDOUT_FILENO) == 1 else { return TextStyle() }
        var size = winsize()
        // Safe: ioctl fills the structure that it is given.
        let isKnown = unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        let noColour = unsafe getenv("NO_COLOR").map { unsafe $0.pointee != 0 } ?? false
        return TextStyle(hasColours: !noColour, columns: isKnown ? Int(size.ws_col) : 80)
    }
}

/// A file that is there as a whole, or as it was before.
enum WholeFile {
    /// Writes `text` to a temporary name beside `path`, and gives it that name. Signals that would end the program wait
    /// meanwhile, so that Ctrl-C leaves no part of it behind.
    ///
    /// `original` is what must not be overwritten. Nor is what is no file: /dev/stdout would be replaced, not written to.
    static func write(
        _ text: String, to path: FilePath, sparing original: any HostFile
    ) throws(ImageError) {
        if let status = try? FileStatus(at: path) {
            guard status.kind == .regular else {
                throw ImageError(
                    .denied, path: path.string, "is there, and no regular file; name another for the picture")
            }
            guard status.identity != original.identity else {
                throw ImageError(.denied, path: path.string, "is the image itself; name another file for the picture")
            }
        }
        var signals = sigset_t()
        var before = sigset_t()
        // Safe: these fill and read the sets that they are given.
        unsafe _ = sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGPIPE] { unsafe _ = sigaddset(&signals, signal) }
        unsafe _ = pthread_sigmask(SIG_BLOCK, &signals, &before)
        defer { unsafe _ = pthread_sigmask(SIG_SETMASK, &before, nil) }
        guard let name = path.lastComponent else {
            throw ImageError(.system(errno: EISDIR), path: path.string, "is no name for a file")
        }
        var temporary = path.removingLastComponent()
        temporary.append(".\(name.string).\(getpid())")
        do {
            let handle = try FileDescriptor.open(
                temporary, .writeOnly, options: [.create, .exclusiveCreate, .closeOnExec],
                permissions: FilePermissions(rawValue: 0o666))
            do {
                try handle.closeAfter { _ = try handle.writeAll(text.utf8) }
                // Safe: both strings end with a NUL, and live as long as the calls.
                let renamed = unsafe temporary.withPlatformString { old in
                    unsafe path.withPlatformString { new in unsafe rename(old, new) }
                }
                if renamed != 0 { throw Errno(rawValue: errno) }
            } catch {
                unsafe _ = temporary.withPlatformString { unsafe unlink($0) }
                throw error
            }
        } catch {
            let code = (error as? Errno) ?? .ioError
            throw ImageError(.system(errno: code.rawValue), path: path.string, "write the picture: \(code)")
        }
    }
}
