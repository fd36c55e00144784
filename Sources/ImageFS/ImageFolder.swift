import BlockImage
import HostStorage
import ImageFormats
import SystemPackage

/// The images that a mount shows: those of a folder, or a single one. Found by their names alone, without opening any.
public struct ImageFolder: Sendable {
    /// One image of the folder.
    public struct Member: Sendable {
        /// The name that the mount shows.
        public var name: [UInt8]
        /// The file's path.
        public var location: FilePath
        /// What the name says of the format; nil: the content decides.
        public var format: ImageFormat?
    }

    /// The images, in the order of their names' bytes.
    public let members: [Member]
    /// The folder that images may name files of.
    public let location: FilePath

    /// The images of the folder `path`, or the one image that `path` is.
    ///
    /// `probesImg`: whether a `.img` is recognised by its content; otherwise it is raw. Throws `system` when there is
    /// no such folder or file, or the folder cannot be listed.
    public init(_ path: FilePath, probesImg: Bool) throws(ImageError) {
        let status: FileStatus
        do {
            status = try FileStatus(at: path)
        } catch {
            throw ImageError(.system(errno: error.rawValue), path: String(decoding: path), error.description)
        }
        func format(of name: [UInt8]) -> ImageFormat? {
            switch ImageFormat.naming(of: name) {
            case .format(let format): format
            case .ambiguous: probesImg ? nil : .raw
            case nil: nil
            }
        }
        if status.kind == .folder {
            let path = try canonical(path)
            location = path
            let entries = try FolderListing(path).entries
            let names = Set(entries.map(\.name))
            members = entries.filter { entry in
                !entry.isFolder && ImageFormat.naming(of: entry.name) != nil
                    && !Self.isPart(entry.name, among: names)
            }.map { entry in
                let location = path.appending(FilePath(bytes: entry.name).components)
                return Member(name: entry.name, location: location, format: format(of: entry.name))
            }.sorted { $0.name.lexicographicallyPrecedes($1.name) }
        } else {
            // The user named this very file: a link is followed, and its target's folder is the images folder.
            let file = try canonical(path)
            let name = path.lastComponent.map { FilePath(root: nil, [$0]).bytes } ?? []
            location = file.removingLastComponent()
            members = [Member(name: name, location: file, format: format(of: name))]
        }
    }

    /// Whether a file only holds a part of another image of the folder: `disk-flat.vmdk`, `disk-s001.vmdk`,
    /// `disk-f001.vmdk`, and the like, beside `disk.vmdk`. Without that, it is shown, and tells what it is.
    static func isPart(_ name: [UInt8], among names: Set<[UInt8]>) -> Bool {
        let suffix = Array(".vmdk".utf8)
        guard name.count > suffix.count, String(decoding: name.suffix(5), as: UTF8.self).lowercased() == ".vmdk",
            let dash = name.lastIndex(of: UInt8(ascii: "-"))
        else { return false }
        let part = String(decoding: name[(dash + 1)...].dropLast(suffix.count), as: UTF8.self).lowercased()
        let kinds: Set = ["flat", "delta", "sesparse", "ctk", "rdm", "rdmp"]
        let isNumbered =
            (part.hasPrefix("s") || part.hasPrefix("f")) && part.count >= 4 && part.dropFirst().allSatisfy(\.isNumber)
        return (kinds.contains(part) || isNumbered) && names.contains(name[..<dash] + name.suffix(suffix.count))
    }
}
