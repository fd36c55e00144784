import BlockImage
import HostStorage
import SystemPackage

/// A file of a guest as a person names it: `IMAGE:/path`, `IMAGE:2:/path`, `IMAGE:VG-LV:/path`, `IMAGE:LABEL=name:/path` or
/// `IMAGE:UUID=uuid:/path`, where IMAGE is what every verb takes, as `disk.qcow2@snapshot`.
package struct GuestPlace: Hashable, Sendable {
    /// Which of the file systems of a disk is meant.
    package enum Selector: Hashable, Sendable {
        /// The root file system of the guest, with what it mounts.
        case root
        /// The one of the partition, or of the disk `p2` or `VG-LV` of the image.
        case part(DiskPart)
        case label(String)
        case uuid(String)
    }

    /// The image, as it was named.
    package let image: String
    package let selector: Selector
    /// The path, which begins with a slash.
    package let path: [UInt8]

    /// The last name of the path; nil where that is none, as of the root directory and of `..`.
    package var name: [UInt8]? {
        let last = path.split(separator: UInt8(ascii: "/")).last.map(Array.init)
        return last == Array(".".utf8) || last == Array("..".utf8) ? nil : last
    }

    /// What `text` means; nil where it is no file of a guest, as the path of a file of the host, and where there is no such image.
    ///
    /// The image is the shortest that there is: its name may have colons.
    package init?(_ text: String) {
        let bytes = text.nameBytes
        for mark in bytes.indices where bytes[mark] == UInt8(ascii: ":") {
            let image = nameText(bytes[..<mark])
            let rest = bytes[(mark + 1)...]
            guard !image.isEmpty, let place = Self.place(rest), NamedImage.called(FilePath(text: image)).isThere else {
                continue
            }
            (self.image, selector, path) = (image, place.selector, place.path)
            return
        }
        return nil
    }

    /// The root directory of the guest on `image`; nil where there is no such image.
    package init?(rootOf image: String) {
        guard NamedImage.called(FilePath(text: image)).isThere else { return nil }
        (self.image, selector, path) = (image, .root, [UInt8(ascii: "/")])
    }

    /// The selector and the path in what comes after an image; nil where they are none. Nothing after a colon is the root directory.
    private static func place(_ bytes: ArraySlice<UInt8>) -> (selector: Selector, path: [UInt8])? {
        if bytes.isEmpty { return (.root, [UInt8(ascii: "/")]) }
        if bytes.first == UInt8(ascii: "/") { return (.root, Array(bytes)) }
        if bytes.last == UInt8(ascii: ":"), !bytes.contains(UInt8(ascii: "/")) {
            return place(bytes + [UInt8(ascii: "/")])
        }
        guard let mark = bytes.indices.first(where: { bytes[$0...].starts(with: Array(":/".utf8)) }) else { return nil }
        let path = Array(bytes[(mark + 1)...])
        let word = nameText(bytes[..<mark])
        if let label = value(of: "LABEL=", in: word) { return (.label(label), path) }
        if let uuid = value(of: "UUID=", in: word) { return (.uuid(uuid.lowercased()), path) }
        if let number = Int(word.hasPrefix("p") ? word.dropFirst() : word[...]), number > 0 {
            return (.part(.partition(number)), path)
        }
        return word.utf8.contains(UInt8(ascii: "-")) ? (.part(.volume(word)), path) : nil
    }

    private static func value(of key: String, in word: String) -> String? {
        word.hasPrefix(key) ? String(word.dropFirst(key.count)) : nil
    }
}
