import BlockImage
import Catalog
import Glibc
import HostStorage
import ImageFormats
import ImageTools
import Reports
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

/// The file that the picture of an image goes to.
struct PictureFile {
    /// What every picture begins with.
    private static let start = Array("<?xml".utf8)

    private let place: FolderDestination

    /// The place `path` for a picture of `image`, which is put there as a whole or not at all.
    ///
    /// Throws why it may not be there: what is there is replaced only if `replaces`, and no file of the image's chain is.
    /// Where the chain cannot be followed to its end, only what is a picture already is surely none of it.
    init(at path: FilePath, of image: NamedImage, replaces: Bool) throws(ImageError) {
        var options = DestinationOptions()
        options.what = "picture"
        options.replaces = replaces
        options.isFlushed = false
        if case .regular? = try? FileStatus(at: path).kind {
            var whole = image
            whole.options.followsEncrypted = true
            whole.options.ignoresCID = true
            let opened = try whole.open()
            options.sources = Set(opened.layers.flatMap(\.files).flatMap(\.identities))
            if let error = opened.disk.error, !Self.isPicture(path) {
                throw ImageError(
                    .denied, path: path.text,
                    "exists, and may be a file of the image, whose files are not all known (\(error)); name another file"
                )
            }
        }
        place = try FolderDestination(at: path, options)
    }

    /// Puts `text` there.
    func write(_ text: String) throws(ImageError) {
        try place.file(named: place.imageName).write(Array(text.utf8), at: HostOffset(0))
        try place.place()
    }

    private static func isPicture(_ path: FilePath) -> Bool {
        guard let file = try? FileDescriptor.open(path, .readOnly, options: [.closeOnExec, .nonBlocking]) else {
            return false
        }
        defer { try? file.close() }
        var bytes = [UInt8](repeating: 0, count: start.count)
        // Safe: read writes at most as many bytes as the array has.
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe try? file.read(into: $0) }
        return count == start.count && bytes == start
    }
}
