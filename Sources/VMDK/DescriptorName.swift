import BlockImage
import Glibc

/// The name of a file as it stands in a descriptor, by the host that wrote it.
public struct DescriptorName: Hashable, Sendable {
    /// The name for people, decoded; with what cannot be decoded replaced.
    public let text: String
    /// Whether `text` stands for exactly these bytes, and no byte was replaced.
    let isDecoded: Bool
    /// The bytes where they are not those of `text`: seldom.
    private let otherBytes: [UInt8]?

    /// The bytes between the quotes.
    public var bytes: [UInt8] { otherBytes ?? Array(text.utf8) }

    /// The name `bytes`, which `decoded` stands for; nil where they could not be decoded.
    init(_ bytes: some Collection<UInt8>, decoded: String?) {
        let text = decoded ?? String(decoding: bytes, as: UTF8.self)
        self.text = text
        isDecoded = decoded != nil
        otherBytes = text.utf8.elementsEqual(bytes) ? nil : Array(bytes)
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
        let start = text.prefix(32).lowercased().replacing("\\", with: "/")
        return ["/dev/", "//./", "//?/", "/vmfs/devices/"].contains { start.hasPrefix($0) }
    }

    /// Whether it names an object of vSAN or of a vVol, as `vsan://…`, and no file.
    var isObject: Bool {
        text.firstRange(of: "://").map { mark in
            // One letter would be a drive.
            let scheme = text[..<mark.lowerBound]
            return scheme.utf8.count > 1 && scheme.allSatisfy { $0.isASCII && $0.isLetter }
        } ?? false
    }

    /// One way to understand the name on this host.
    struct Candidate: Hashable {
        /// The name to look for.
        var name: [UInt8]
        /// What is read when it is found, for people; nil where that is just what the descriptor says.
        var reading: String?
    }

    /// The names to look for, the best first, each once: the name decoded; its bytes as they are; with the separators
    /// of Windows as those of this host; its last two components, in a folder beside that of the file that has the name,
    /// as linked clones are kept; and its last component, beside the file, because images are moved and copied without
    /// anybody changing what they say. None for a device.
    var candidates: [Candidate] {
        guard !isDevice else { return [] }
        let split = splittableBytes
        var candidates = [Candidate(name: bytes)]
        if isDecoded { candidates.insert(Candidate(name: Array(text.utf8)), at: 0) }
        if !isOfDrive, split.contains(backslash) {
            let name = split.map { $0 == backslash ? slash : $0 }
            candidates.append(Candidate(name: name, reading: "\(String(decoding: name, as: UTF8.self)) is read"))
        }
        if let name = siblingName {
            candidates.append(Candidate(name: name, reading: "\(String(decoding: name, as: UTF8.self)) is read"))
        }
        if let name = lastComponent {
            let text = String(decoding: name, as: UTF8.self)
            candidates.append(Candidate(name: name, reading: "\(text) beside it is read"))
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
        if folder.first == UInt8(ascii: "["), let end = folder.firstRange(of: Array("] ".utf8)) {
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

/// Looks for the files that one image names. To be used by one thread.
public struct FileSearch {
    /// The file that names them.
    private let image: any HostFile
    private let policy: any OpenPolicy
    /// What was read in place of what the descriptor says, in the order in which it was found.
    private var replacements: [String] = []
    /// The names beside the image by their ASCII letters in lower case, once they were needed.
    private var names: [[UInt8]: [[UInt8]]]?

    /// The most replacements that are noted one by one: a disk of 8,192 extents that was moved must not have as many
    /// notes.
    private static let noteLimit = 4

    /// A search for what `image` names, among the files that `policy` allows.
    public init(of image: any HostFile, policy: any OpenPolicy) {
        self.image = image
        self.policy = policy
    }

    /// What people should know of what was found.
    public var notes: [String] {
        let more = replacements.count - Self.noteLimit
        return replacements.prefix(Self.noteLimit) + (more > 0 ? ["\(image.path): \(more) more names are read so"] : [])
    }

    /// Opens the file called `name`, the first of its candidates that is there and allowed.
    ///
    /// Where none is, the only file beside the image whose name differs from the last candidate just in the case of its
    /// letters is opened, as Windows would. Throws what the policy says of the first candidate, `denied` for devices.
    public mutating func open(
        _ name: DescriptorName, as role: FileReference.Role
    ) throws(ImageError) -> any HostFile {
        let candidates = name.candidates
        var failure: ImageError?
        for candidate in candidates {
            do throws(ImageError) {
                let file = try policy.open(FileReference(candidate.name, role: role), namedBy: image)
                if let reading = candidate.reading { noteReplacement(of: name, reading) }
                return file
            } catch {
                guard error.letsSearchGoOn else { throw error }
                failure = failure ?? error
            }
        }
        if let last = name.lastComponent, !candidates.isEmpty, let found = soleName(like: last) {
            let file = try policy.open(FileReference(found, role: role), namedBy: image)
            noteReplacement(of: name, "\(String(decoding: found, as: UTF8.self)) beside it is read")
            return file
        }
        guard var failure else {
            throw ImageError(
                .denied, path: image.path, "\(role.rawValue) \"\(name.text)\": is a device, and only files are opened")
        }
        let others = candidates.dropFirst().map { "\"\(String(decoding: $0.name, as: UTF8.self))\"" }
        if !others.isEmpty { failure.message += "; looked for \(others.joined(separator: " and ")) as well" }
        throw failure
    }

    private mutating func noteReplacement(of name: DescriptorName, _ reading: String) {
        replacements.append("\(image.path): the descriptor names \"\(name.text)\"; \(reading)")
    }

    /// The only name beside the image that is `name` but for the case of its ASCII letters.
    private mutating func soleName(like name: [UInt8]) -> [UInt8]? {
        let names = names ?? Dictionary(grouping: policy.names(besides: image), by: lowercase)
        self.names = names
        guard let found = names[lowercase(name)], found.count == 1 else { return nil }
        return found.first
    }
}

extension ImageError {
    /// Whether another name may lead to the file that this is about.
    fileprivate var letsSearchGoOn: Bool {
        switch code {
        case .denied, .system(ENOENT), .system(ENOTDIR), .system(ENAMETOOLONG): true
        default: false
        }
    }
}

private func lowercase(_ bytes: [UInt8]) -> [UInt8] {
    bytes.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
}
