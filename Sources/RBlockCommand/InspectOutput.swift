import BlockImage
import Catalog
import HostStorage
import ImageFormats
import ImageTools
import SystemPackage

/// The file that a picture of images goes to, or a page. Used by one thread.
final class PictureFile {
    /// What every picture begins with, and every page.
    private static let starts = ["<?xml version", "<!DOCTYPE html"].map { Array($0.utf8) }

    private let place: FolderDestination
    private let path: FilePath
    private let what: String
    private var isTried = false

    /// The place `path` for a picture of `images`, called `what`, which is put there as a whole or not at all.
    ///
    /// Throws why it may not be there: what is there is replaced only if `replaces`, and no file of an image's chain is.
    /// Where a chain cannot be followed to its end, only what is a picture already is surely none of it.
    init(at path: FilePath, of images: [NamedImage], as what: String, replaces: Bool) throws(ImageError) {
        self.path = path
        self.what = what
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
                whole.options.ignoresParentID = true
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
        isTried = true
        try place.file(named: place.imageName).write(Array(text.utf8), at: HostOffset(0))
        try place.place()
    }

    /// What `work` answers. Where it throws before a picture is written, says that there is none: the error is about another file.
    static func saying<Result>(ifMissing pictures: [PictureFile?], _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch {
            for picture in pictures.compactMap({ $0 }) where !picture.isTried {
                let old = (try? FileStatus(at: picture.path)) == nil ? "" : "; the file there is as it was"
                Failure.say(
                    "\(picture.path.text): no \(picture.what) is written: the verb did not come to its end\(old)"
                )
            }
            throw error
        }
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
