import BlockImage
import Glibc

/// The name of a file as it stands in a descriptor, by the host that wrote it.
public struct DescriptorName: Hashable, Sendable {
    /// The name decoded, or the text of its bytes (see `nameText`).
    public let text: String
    /// Whether `text` stands for exactly these bytes, and no byte was replaced.
    let isDecoded: Bool
    /// The bytes where they are not those of `text`: seldom.
    private let otherBytes: [UInt8]?

    /// The bytes between the quotes.
    public var bytes: [UInt8] { otherBytes ?? Array(text.utf8) }

    /// The name `bytes`, which `decoded` stands for; nil where they could not be decoded.
    init(_ bytes: some Collection<UInt8>, decoded: String?) {
        let text = decoded ?? nameText(Array(bytes))
        self.text = text
        isDecoded = decoded != nil
        otherBytes = text.utf8.elementsEqual(bytes) ? nil : Array(bytes)
    }

    /// The name of a file of this host, whose text is `text`: see `nameText`.
    init(text: String) {
        self.init(text.nameBytes, decoded: text.hasRawBytes ? nil : text)
    }

    /// Why a new descriptor cannot have it; nil where readers get it back as it is. Nothing can be escaped in a descriptor.
    var writingFault: String? {
        if bytes.isEmpty { return "is empty, but must name a file" }
        if bytes.count >= PATH_MAX { return "has \(bytes.count) bytes, but must have less than \(PATH_MAX)" }
        if bytes.contains(UInt8(ascii: "\"")) {
            return "has a quote, which a descriptor cannot hold; it must have none"
        }
        if bytes.contains(where: { $0 < 0x20 || $0 == 0x7f }) {
            return "has control characters, which a descriptor cannot hold; it must have none"
        }
        return isDevice ? "is a device, but must be a file" : nil
    }

    /// Whether it names a device of Linux, macOS, ESX or Windows, and no file. Such a name is never looked for.
    var isDevice: Bool {
        let start = text.prefix(32).lowercased().replacing(text: "\\", with: "/")
        return ["/dev/", "//./", "//?/", "/vmfs/devices/"].contains { start.hasPrefix($0) }
    }

    /// Whether it names an object of vSAN or of a vVol, as `vsan://…`, and no file.
    var isObject: Bool {
        text.utf8.place(of: "://".utf8).map { mark in
            // One letter would be a drive.
            let scheme = text[..<mark.lowerBound]
            return scheme.utf8.count > 1 && scheme.allSatisfy { $0.isASCII && $0.isLetter }
        } ?? false
    }

    typealias Candidate = SoughtName.Candidate

    /// The names to look for, the best first, each once: the name decoded; its bytes as they are; with the separators
    /// of Windows as those of this host; its last two components, in a folder beside that of the file that has the name,
    /// as linked clones are kept; and its last component, beside the file, because images are moved and copied without
    /// a change of what they say. None for a device.
    var candidates: [Candidate] {
        guard !isDevice else { return [] }
        let split = splittableBytes
        var candidates = [Candidate(name: bytes)]
        if isDecoded { candidates.insert(Candidate(name: Array(text.utf8)), at: 0) }
        if !isOfDrive, split.contains(backslash) {
            let name = split.map { $0 == backslash ? slash : $0 }
            candidates.append(Candidate(name: name, reading: "\(path: nameText(name)) is read"))
        }
        if let name = siblingName {
            candidates.append(Candidate(name: name, reading: "\(path: nameText(name)) is read"))
        }
        if let name = lastComponent {
            let text = nameText(name)
            candidates.append(Candidate(name: name, reading: "\(path: text) beside it is read"))
        }
        var seen: Set<[UInt8]> = []
        return candidates.filter { seen.insert($0.name).inserted }
    }

    /// `../folder/name` for a name that ends in `folder/name`, or in `[datastore] folder/name` as ESX writes it; nil for
    /// one without a folder.
    private var siblingName: [UInt8]? {
        guard let name = lastComponent else { return nil }
        let path = splittableBytes.dropLast(name.count)
        guard let last = path.last, last == slash || last == backslash else { return nil }
        let above = path.dropLast()
        var folder = above[(above.lastIndex { [slash, backslash, colon].contains($0) }.map { $0 + 1 } ?? 0)...]
        if folder.first == UInt8(ascii: "["), let end = folder.place(of: "] ".utf8) {
            folder = folder[end.upperBound...]
        }
        guard !folder.isEmpty, !folder.elementsEqual(".".utf8), !folder.elementsEqual("..".utf8) else { return nil }
        return Array("../".utf8) + folder + [slash] + name
    }

    /// What follows the last separator of this host, of Windows, or of a drive; nil where nothing does, or no file.
    var lastComponent: [UInt8]? {
        var name = splittableBytes[...]
        if isOfDrive, name.dropFirst().first == colon { name = name.dropFirst(2) }
        if let separator = name.lastIndex(where: { $0 == slash || $0 == backslash }) {
            name = name[(separator + 1)...]
        }
        return name.isEmpty || name.elementsEqual(".".utf8) || name.elementsEqual("..".utf8) ? nil : Array(name)
    }

    /// The bytes in which 0x5C is a separator, and not the second byte of a character.
    private var splittableBytes: [UInt8] { isDecoded ? Array(text.utf8) : bytes }

    /// Whether it begins at a drive, a share or the root of Windows, none of which this host has.
    private var isOfDrive: Bool {
        let name = splittableBytes
        guard let first = name.first else { return false }
        let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first | 0x20)
        return first == backslash || (isLetter && name.dropFirst().first == colon)
    }
}

private let slash = UInt8(ascii: "/")
private let backslash = UInt8(ascii: "\\")
private let colon = UInt8(ascii: ":")

extension DescriptorName {
    /// What it is looked for by.
    var sought: SoughtName {
        SoughtName(
            text: text, place: "descriptor", candidates: candidates, lastComponent: lastComponent, ignoresCase: true)
    }
}
