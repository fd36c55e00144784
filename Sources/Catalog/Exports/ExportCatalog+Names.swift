import BlockImage
import Glibc
import ImageFormats

/// How the names of exports are read: an image's own, that of a disk in an appliance, and what follows for a disk of an
/// image. They are looked at as bytes.
extension ExportCatalog {
    /// The most bytes of a name that is looked for.
    static let nameLimit = 4096
    /// The most marks of its parts that are looked at.
    private static let markLimit = 64

    /// Where in a name the names of snapshots and partitions may begin, the last first: the last `markLimit` of them. They
    /// are looked for by bytes: an accent behind one makes one character of both.
    static func marks(in name: [UInt8]) -> [Int] {
        let marks = name.indices.dropFirst().reversed().lazy.filter {
            [UInt8(ascii: "@"), UInt8(ascii: "/")].contains(name[$0])
        }
        return Array(marks.prefix(markLimit))
    }

    /// The names of `images` that look like `bytes` before one of `marks`, by the mark. Only names that are not ASCII look
    /// like others.
    static func alike(
        _ bytes: [UInt8], before marks: [Int], in images: [ExactName: NamedImage]
    ) -> [Int: [String]] {
        guard !bytes.allSatisfy({ $0 < 0x80 }) else { return [:] }
        // Swift's strings are equal where they look the same.
        let marks = Dictionary(marks.map { (String(decoding: bytes[..<$0], as: UTF8.self), $0) }) { first, _ in first }
        return Dictionary(grouping: images.keys.map(\.text).filter { marks[$0] != nil }) { marks[$0] ?? 0 }
    }

    /// Those of `images` with the names of containers that stand before a slash of `bytes`, the shortest first.
    static func archives(
        in bytes: [UInt8], of images: [ExactName: NamedImage]
    ) -> [(name: String, image: NamedImage)] {
        marks(in: bytes).reversed().compactMap { mark in
            guard bytes[mark] == UInt8(ascii: "/"), ContainerFormat.naming(of: bytes[..<mark].suffix(16)) != nil else {
                return nil
            }
            let name = String(decoding: bytes[..<mark], as: UTF8.self)
            return images[ExactName(name)].map { (name, $0) }
        }
    }

    static func several(_ name: String, _ disks: [(name: String, image: NamedImage)]) -> ImageError {
        let names = disks.prefix(16).map { "\"\($0.name)\"" }.joined(separator: ", ")
        return ImageError(
            .system(errno: ENOENT), about: .export(name),
            "holds several disks, of which each has a name of its own: \(names.isEmpty ? "it has none" : names)"
                + (disks.count > 16 ? " and \(disks.count - 16) more" : ""))
    }

    /// Which of `names` is meant by `name`: it alone, or the only one that looks the same, which `image` notes. Nil where
    /// there is none.
    static func place(
        of name: String, in names: [String], noting image: NamedImage?
    ) throws(ImageError) -> Int? {
        let found = try NameMatch.find(
            Array(name.utf8), among: names.map { Array($0.utf8) }, kind: "export", of: .export(name))
        if let note = found?.note { image?.onNote?(note.description) }
        return found?.index
    }

    /// Whether `error`, which the catalog has thrown, is about a name that is not in it, and not about a file.
    package static func isAboutName(_ error: ImageError) -> Bool {
        guard case .export = error.subject else { return false }
        return error.code == .system(errno: ENOENT)
    }

    static func missing(_ name: String) -> ImageError {
        ImageError(.system(errno: ENOENT), about: .export(name), "is not served")
    }
}
