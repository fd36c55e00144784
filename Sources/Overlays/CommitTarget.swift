import BlockImage
import FormatCore
import HostStorage
import ImageFormats
import QCOW2
import SystemPackage

/// The image that a commit writes to: open for that, and locked.
struct CommitTarget {
    /// How its disk is written to.
    private enum Form {
        case raw
        case qcow2(WritableQCOW2)
    }

    /// What there is to do where the image is not written to.
    static let convertHint = "'rblock convert --allow-path DIR OVERLAY NEW-IMAGE' makes a new image of both"

    let file: LocalWritableFile
    let location: FilePath
    private let form: Form

    /// The image that `layer` describes, of which `disk` is the disk; it is locked, and what is under it, if `takesLocks` says so.
    ///
    /// Throws `unsupported` for formats that are not written to, and images that are not; `denied` for what is a link to another
    /// folder, and what its permissions let no user write to; and `system` where a program uses it.
    init(_ layer: LayerDescription, disk: Image, takesLocks: Bool) throws(ImageError) {
        let path = layer.file.path
        guard ["raw", "qcow2"].contains(layer.format.rawValue), let own = layer.file as? LocalFile,
            layer.files.count == 1
        else {
            throw ImageError(
                .unsupported, path: path,
                "is \(layer.format.rawValue), and only QCOW2 and raw images in one file are written to",
                hint: Self.convertHint)
        }
        guard !own.isLinked else {
            throw ImageError(
                .denied, path: own.link?.path.text ?? path,
                "is a link to \(path: own.location.text), in another folder, and is not written to",
                hint: "move the image to where the link is")
        }
        location = own.location
        guard (try? FileStatus(at: location).isReadOnly) == false else {
            throw ImageError(
                .denied, path: path, "its permissions let no user write to it", hint: "chmod u+w changes that")
        }
        file = try LocalWritableFile(at: location)
        guard file.identity == own.identity else {
            throw ImageError(.system(errno: Errno.staleNFSFileHandle.rawValue), path: path, "was replaced meanwhile")
        }
        if takesLocks {
            try file.lock()
            // What is copied from them must stay.
            for lower in disk.backing?.files ?? [] { try lower.lockAgainstWriters() }
        }
        guard layer.format.rawValue == "qcow2" else {
            form = .raw
            return
        }
        do throws(ImageError) {
            form = .qcow2(
                try WritableQCOW2(
                    QCOW2Description(file), file: file, below: disk.backing,
                    resources: LayerResources(cacheSize: 4 << 20)))
        } catch {
            var said = error
            if error.code == .unsupported { said.hint = said.hint ?? Self.convertHint }
            throw said
        }
    }

    /// Has its disk hold `bytes` at `start`.
    func write(_ bytes: RawSpan, at start: UInt64) throws(ImageError) {
        switch form {
        case .raw: try file.write(bytes, at: HostOffset(start))
        case .qcow2(let layer): try layer.write(bytes, at: GuestOffset(start))
        }
    }

    /// Has the `count` bytes at `start` of its disk read as zeros, and take no space where that can be.
    func zero(_ count: UInt64, at start: UInt64) throws(ImageError) {
        switch form {
        case .raw: try file.zero(count, at: HostOffset(start), keepingSpace: false)
        case .qcow2(let layer): try layer.zero(count, at: GuestOffset(start), mayUnmap: true)
        }
    }

    /// Returns when all of that is on stable storage, and the file is one that was closed.
    func close() throws(ImageError) {
        switch form {
        case .raw: try file.sync()
        case .qcow2(let layer): try layer.close()
        }
    }
}
