import BlockImage
import Catalog
import HostStorage
import ImageFormats
import ImageTools
import SystemPackage

/// The file that a picture of images goes to, or a page.
struct PictureFile {
    /// What every picture begins with, and every page.
    private static let starts = ["<?xml version", "<!DOCTYPE html"].map { Array($0.utf8) }

    private let place: FolderDestination

    /// The place `path` for a picture of `images`, called `what`, which is put there as a whole or not at all.
    ///
    /// Throws why it may not be there: what is there is replaced only if `replaces`, and no file of an image's chain is.
    /// Where a chain cannot be followed to its end, only what is a picture already is surely none of it.
    init(at path: FilePath, of images: [NamedImage], as what: String, replaces: Bool) throws(ImageError) {
        guard path != "-" else {
            throw ImageError(
                .denied, about: .named("-"), "is no name of a file: a \(what) is not written to standard output")
        }
        var options = DestinationOptions()
        options.what = what
        options.replaces = replaces
        options.isFlushed = false
        if case .regular? = try? FileStatus(at: path).kind {
            for var whole in images {
                whole.options.followsEncrypted = true
                whole.options.ignoresCID = true
                let opened = try whole.open()
                options.sources.formUnion(opened.layers.flatMap(\.files).flatMap(\.identities))
                guard let error = opened.disk.error, !Self.isPicture(path) else { continue }
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
        var bytes = [UInt8](repeating: 0, count: starts[0].count)
        // Safe: read writes at most as many bytes as the array has.
        let count = unsafe bytes.withUnsafeMutableBytes { unsafe try? file.read(into: $0) }
        return count == bytes.count && starts.contains { $0.starts(with: bytes) }
    }
}
