import BlockImage

/// A file that holds a part of a VMDK disk, as `disk-flat.vmdk` and `disk-s001.vmdk` do. What descriptors name decides which
/// these are, and not what they are called: a whole disk may be called so, too.
struct DiskPart: Hashable, Sendable {
    /// What the name of a part ends with, before its extension.
    enum Kind: Hashable, Sendable {
        /// `-flat`: a whole disk as it is, where its descriptor has no other extent.
        case flat
        /// `-s001` or `-f001`: one of several.
        case piece
        /// `-ctk`, which lists changed blocks and holds nothing of the disk.
        case changes
        /// A delta's data, or a pointer to a device.
        case other
    }

    /// The name of the descriptor that names it; nil: none beside it does.
    let owner: [UInt8]?
    private let path: String
    private let kind: Kind?

    /// What `file`, which has no descriptor of its own, is a part of, by the descriptors that `policy` knows beside it. Nil
    /// where none names it, and its name does not make it one of several parts.
    init?(_ file: any HostFile, policy: any OpenPolicy) {
        let name = Self.name(of: file)
        var descriptors = Descriptors(among: policy.names(besides: file)) { other in
            try? policy.open(FileReference(other, role: .descriptor), namedBy: file)
        }
        path = file.path
        kind = Self.named(name)?.kind
        owner = descriptors.owner(of: name)
        if owner == nil, kind != .piece { return nil }
    }

    /// Why it is no image by itself, and which one is.
    var error: ImageError {
        guard let owner else {
            return ImageError(
                .unsupported, path: path,
                "is by its name one part of a split disk, whose descriptor is not beside it; the disk cannot be put "
                    + "together without that",
                hint: "--format raw or vmdk reads this part alone")
        }
        let text = nameText(owner)
        let content = kind == .changes ? "lists changed blocks" : "holds a part"
        return ImageError(
            .unsupported, path: path,
            "\(content) of the disk of \(path: text), whose descriptor names it, and is no image by itself: use \(path: text)",
            hint: "--format raw reads its bytes as they are")
    }

    /// What the name of `file` says; nil where it is not that of a part.
    static func kind(of file: any HostFile) -> Kind? { named(name(of: file))?.kind }

    private static func name(of file: any HostFile) -> [UInt8] { file.path.nameBytes.suffix { $0 != slash } }

    /// `error`, that `file` is no VMDK image, with the name of the flat file beside it that may hold its disk, if there is
    /// one.
    static func lostDescriptor(_ file: any HostFile, _ error: ImageError, policy: any OpenPolicy) -> ImageError {
        let name = Self.name(of: file)
        let wanted = name.dropLast(5) + Array("-flat.vmdk".utf8)
        let names = policy.names(besides: file)
        guard lowercased(name.suffix(5)).elementsEqual(".vmdk".utf8),
            let flat = names.first(where: { $0 == Array(wanted) })
                ?? names.first(where: { lowercased($0) == lowercased(wanted) })
        else { return error }
        var error = error
        error.detail += "; \(path: nameText(flat)) beside it may hold its disk, and is read by itself"
        return error
    }

    /// What the name of a part says: its kind, and the name that its descriptor has by custom. Nil for other names.
    static func named(_ name: [UInt8]) -> (kind: Kind, descriptor: [UInt8])? {
        let suffix = name.suffix(5)
        guard lowercased(suffix).elementsEqual(".vmdk".utf8), let dash = name.lastIndex(of: UInt8(ascii: "-")),
            dash < suffix.startIndex
        else { return nil }
        let word = String(decoding: lowercased(name[(dash + 1)..<suffix.startIndex]), as: UTF8.self)
        let isNumbered = word.hasPrefix("s") || word.hasPrefix("f")
        let kind: Kind
        switch word {
        case "flat": kind = .flat
        case "ctk": kind = .changes
        case "delta", "sesparse", "rdm", "rdmp", "pt": kind = .other
        case _ where isNumbered && word.utf8.count >= 4 && word.utf8.dropFirst().allSatisfy(isDigit): kind = .piece
        default: return nil
        }
        return (kind, Array(name[..<dash] + suffix))
    }
}

extension DiskPart {
    /// Those of the `names` in a folder, whose files `open` opens, that are parts of the disks of others. Only files whose
    /// names look like parts, and the descriptors beside them, are looked into.
    static func parts(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) -> Set<[UInt8]> {
        let suspects = names.filter { named($0) != nil }
        guard !suspects.isEmpty else { return [] }
        return withoutActuallyEscaping(open) { open in
            var descriptors = Descriptors(among: names, open: open)
            return Set(suspects.filter { descriptors.isPart($0) })
        }
    }

    /// Those that look like parts of others of `names`, where nothing is looked into.
    static func parts(named names: [[UInt8]]) -> Set<[UInt8]> {
        let all = Set(names)
        return Set(names.filter { named($0).map { all.contains($0.descriptor) } ?? false })
    }
}

/// The descriptors of a folder, each looked into once. To be used by one thread.
private struct Descriptors {
    /// The most that are looked into besides those whose names fit.
    private static let limit = 256

    /// What looking into a file came to.
    private enum Content {
        /// It cannot be opened.
        case unknown
        /// It names these, or is no descriptor.
        case named(Named)
    }

    /// What a descriptor names.
    struct Named {
        /// The last components of the names.
        var exact: Set<[UInt8]> = []
        /// Of those that no file has as they are written, what `alike` answers: they are looked for under other names.
        var alike: Set<String> = []

        func contains(_ name: [UInt8]) -> Bool {
            exact.contains(name) || !alike.isEmpty && alike.contains(Descriptors.alike(name))
        }
    }

    let open: ([UInt8]) -> (any HostFile)?
    /// What the folder has.
    private let names: [[UInt8]]
    private let nameSet: Set<[UInt8]>
    private var known: [[UInt8]: Content] = [:]
    /// What those name that were looked into because their names did not fit any part; nil before that.
    private var others: [(name: [UInt8], named: Named)]?

    init(among names: [[UInt8]], open: @escaping ([UInt8]) -> (any HostFile)?) {
        self.names = names
        nameSet = Set(names)
        self.open = open
    }

    /// The same for names that differ in the case of ASCII letters only, or are equivalent in Unicode, as strings are
    /// equal.
    static func alike(_ name: [UInt8]) -> String { nameText(lowercased(name)) }

    /// Whether the file `name` is a part of a disk of the folder. One whose descriptor, by custom, cannot be read is.
    mutating func isPart(_ name: [UInt8]) -> Bool {
        if owner(of: name) != nil { return true }
        guard let (kind, descriptor) = DiskPart.named(name), nameSet.contains(descriptor) else { return false }
        if case .unknown? = known[descriptor] { return true }
        guard kind == .changes, let file = open(name) else { return false }
        let start = try? file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "first bytes")
        return !isVMDK(firstBytes: start ?? [])
    }

    /// The descriptor that names the file `name`.
    mutating func owner(of name: [UInt8]) -> [UInt8]? {
        if let usual = DiskPart.named(name)?.descriptor, nameSet.contains(usual), named(by: usual).contains(name) {
            return usual
        }
        if others == nil {
            let candidates = names.lazy.filter {
                $0 != name && lowercased($0.suffix(5)).elementsEqual(".vmdk".utf8) && DiskPart.named($0) == nil
            }
            others = candidates.prefix(Self.limit).map { ($0, named(by: $0)) }
        }
        return others?.first { $0.name != name && $0.named.contains(name) }?.name
    }

    private mutating func named(by descriptor: [UInt8]) -> Named {
        if known[descriptor] == nil { known[descriptor] = look(into: descriptor) }
        if case .named(let named)? = known[descriptor] { return named }
        return Named()
    }

    /// A disk that lies in a sparse extent of its own has a descriptor, too, whose line may be another file's by now.
    private func look(into name: [UInt8]) -> Content {
        guard let file = open(name) else { return .unknown }
        guard file.size <= Descriptor.sizeLimit, let description = try? VMDKDescription.describe(file),
            description.sparseHeader == nil, let descriptor = description.descriptor
        else { return .named(Named()) }
        // A name that could be decoded, and the bytes that it was decoded from.
        var all = descriptor.extents.compactMap(\.name).map { [$0.text.nameBytes, $0.bytes] }
        if let changes = descriptor.value(of: "changeTrackPath") { all.append([changes.nameBytes]) }
        var named = Named()
        for ways in all {
            let ways = ways.map { way in way.suffix { $0 != slash && $0 != UInt8(ascii: "\\") } }
            named.exact.formUnion(ways)
            if nameSet.isDisjoint(with: ways) { named.alike.formUnion(ways.map(Self.alike)) }
        }
        return .named(named)
    }
}

private let slash = UInt8(ascii: "/")

private func lowercased(_ name: some Sequence<UInt8>) -> [UInt8] {
    name.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 | 0x20 : $0 }
}

private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

extension Collection where Element == UInt8 {
    /// The bytes at its end for which `condition` holds.
    fileprivate func suffix(while condition: (UInt8) -> Bool) -> [UInt8] {
        Array(reversed().prefix(while: condition).reversed())
    }
}
