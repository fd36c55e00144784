import BlockImage
import FormatCore
import Glibc
import HostStorage
import ImageFormats
import QCOW2
import SystemPackage

extension LayerDescription {
    /// Whether its part of the disk is encrypted.
    var isEncrypted: Bool { ImageInfo(self, listsAll: false).encrypted == true }
}

/// A disk that something is to be written over.
struct OverlayBase: Sendable {
    /// The formats that QEMU has no driver for.
    private static let unknownToQEMU: Set<String> = ["ewf", "split-raw"]

    /// The disk, with its chain.
    let image: Image
    /// The files of the chain, topmost first.
    let layers: [LayerDescription]
    /// Where its file is; of a disk of an appliance, that of the archive and the disk's name.
    let location: FilePath
    /// Whether it is a file of its own.
    let isFile: Bool

    /// Why QEMU does not open an overlay over it; nil where it does.
    var reasonAgainstQEMU: ErrorText? {
        guard let top = layers.first else { return nil }
        if !isFile { return "it lies in an archive, which QEMU does not look into by a plain name" }
        if Self.unknownToQEMU.contains(top.format.rawValue) {
            return "QEMU does not read the format \(top.format.rawValue)"
        }
        if Self.isMisread(top) { return "QEMU reads what a differencing VHD has of its parent as zeros" }
        if let note = layers.lazy.flatMap(\.nameNotes).first {
            return "QEMU does not look for files elsewhere than under the names that images have for them: \(note)"
        }
        return nil
    }

    private static func isMisread(_ layer: LayerDescription) -> Bool {
        layer.format.rawValue == "vpc" && layer.image?.backing != nil
    }

    /// The topmost image of its chain that is encrypted; nil where none is.
    var encrypted: LayerDescription? { layers.first { $0.isEncrypted } }

    /// Throws why nothing is to be written over it. `isNew`: there is no overlay yet.
    func checkCanHaveOverlay(_ settings: OverlaySettings, isNew: Bool) throws(ImageError) {
        if let encrypted, !settings.allowsPlaintext {
            throw ImageError(
                .system(errno: EROFS), path: encrypted.file.path,
                "is encrypted, and what is written over it would not be: it cannot be written to",
                hint: "--overlay-plaintext allows it")
        }
        // Of small clusters an image has so many only.
        guard isNew else { return }
        try settings.image(size: image.virtualSize).validate(path: layers.first?.file.path ?? location.text)
    }

    /// Keeps other programs from writing to its files for as long as these are open.
    func lock() throws(ImageError) {
        for file in image.files { try file.lockAgainstWriters() }
    }

    /// How an overlay at `path` names it.
    func backing(of path: FilePath) throws(ImageError) -> NewQCOW2.Backing {
        let format = layers.first.map { Self.isMisread($0) ? "vhd" : $0.format.rawValue } ?? "raw"
        let name = Self.relative(location, from: path.removingLastComponent())
        guard name.count <= 1023 else {
            throw ImageError(
                .unsupported, path: path.text,
                "the name of the image under it would take \(name.count) bytes, and may take 1023")
        }
        return NewQCOW2.Backing(name: name, format: format)
    }

    /// The way from the folder `folder` to `path`, both canonical.
    static func relative(_ path: FilePath, from folder: FilePath) -> [UInt8] {
        let (target, start) = (Array(path.components), Array(folder.components))
        let common = zip(target, start).prefix { $0 == $1 }.count
        let up = [FilePath.Component](repeating: "..", count: start.count - common)
        let name = FilePath(root: nil, up + target[common...]).bytes
        // What comes before a colon and has no slash in it is the name of a protocol, for QEMU.
        let isProtocol = name.prefix { $0 != UInt8(ascii: "/") }.contains(UInt8(ascii: ":"))
        return isProtocol ? Array("./".utf8) + name : name
    }
}
