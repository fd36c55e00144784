/// Finds members of an archive by the names that other files have for them. Only regular files, and sparse ones, are
/// known, and not those in which archivers keep attributes of others; when a name comes twice, it is the last one.
struct MemberNames: Sendable {
    /// The chunks of a file: members `name.000000000`, `name.000000001` and so on.
    struct Chunks: Sendable {
        /// The name of the file.
        let file: [UInt8]
        fileprivate(set) var numbers: [Int: Int] = [:]

        /// The members from the first chunk on, up to the first that is missing.
        var members: [Int] {
            var found: [Int] = []
            while let member = numbers[found.count] { found.append(member) }
            return found
        }
        /// The highest number of a chunk.
        var highest: Int { numbers.keys.max() ?? 0 }
    }

    /// The members, each name once, in the order of the archive.
    let all: [Int]
    private var exact: [[UInt8]: Int] = [:]
    private var plain: [[UInt8]: Int] = [:]
    private var lowercase: [[UInt8]: Int] = [:]
    private var byLastComponent: [[UInt8]: [Int]] = [:]
    private var chunkSets: [[UInt8]: Chunks] = [:]
    private var lowercaseChunkSets: [[UInt8]: [UInt8]] = [:]
    private var chunkSetsByLastComponent: [[UInt8]: Set<[UInt8]>] = [:]

    /// Knows `members` by their indices.
    init(_ members: [TarMember]) {
        for (index, member) in members.enumerated() where member.isFile && !isAttributes(member.name) {
            exact[member.name] = index
            plain[withoutDot(member.name)] = index
        }
        all = plain.values.sorted()
        for index in all {
            let name = withoutDot(members[index].name)
            lowercase[lowercased(name)] = index
            byLastComponent[lastComponent(of: name), default: []].append(index)
            if let (file, number) = chunk(name) {
                chunkSets[file, default: Chunks(file: file)].numbers[number] = index
                lowercaseChunkSets[lowercased(file)] = file
                chunkSetsByLastComponent[lastComponent(of: file), default: []].insert(file)
            }
        }
    }

    /// The member that the relative reference `href` of a file in `folder` is, seen from that folder, else from the root of
    /// the archive: the one with exactly that name, else without a leading `./` of either, else with `%xx` decoded, because
    /// references are URIs, else in whatever case.
    func member(_ href: [UInt8], from folder: [UInt8] = []) -> Int? {
        first(href, from: folder) { exact[$0] ?? plain[withoutDot($0)] }
            ?? first(href, from: folder) { lowercase[lowercased(withoutDot($0))] }
    }

    /// The chunks of the file `href`, by the same rules; nil where there are none.
    func chunks(_ href: [UInt8], from folder: [UInt8] = []) -> Chunks? {
        first(href, from: folder) { chunkSets[withoutDot($0)] }
            ?? first(href, from: folder) { lowercaseChunkSets[lowercased(withoutDot($0))].flatMap { chunkSets[$0] } }
    }

    private func first<Found>(_ href: [UInt8], from folder: [UInt8], _ find: ([UInt8]) -> Found?) -> Found? {
        for folder in folder.isEmpty ? [[]] : [folder, []] {
            for name in [href, percentDecoded(href)] {
                if folder.isEmpty, let found = find(name) { return found }
                if let path = resolved(name, from: folder), let found = find(path) { return found }
            }
        }
        return nil
    }

    /// The only member whose last component is that of `href`, whose folders are those of another machine then; nil where
    /// there is none, or there are several.
    func onlyMember(lastComponentOf href: [UInt8]) -> Int? {
        for name in lastComponents(of: href) {
            if let found = byLastComponent[name] { return found.count == 1 ? found[0] : nil }
        }
        return nil
    }

    /// The same of files in chunks.
    func onlyChunks(lastComponentOf href: [UInt8]) -> Chunks? {
        for name in lastComponents(of: href) {
            if let found = chunkSetsByLastComponent[name] {
                return found.count == 1 ? found.first.flatMap { chunkSets[$0] } : nil
            }
        }
        return nil
    }

    /// The members whose last component is `name`, in the order of the archive.
    func members(lastComponent name: [UInt8]) -> [Int] { byLastComponent[name] ?? [] }
}

extension TarMember {
    /// Whether it is a file, and not a folder, a link or a device.
    package var isFile: Bool { kind == .regular || kind == .sparse }
}

/// What follows the name of a file in that of its chunk `number`: nine digits (DMTF DSP0243, "File References").
func chunkSuffix(_ number: Int) -> [UInt8] {
    let digits = Array(String(number).utf8)
    return [UInt8(ascii: ".")] + Array(repeating: UInt8(ascii: "0"), count: max(0, 9 - digits.count)) + digits
}

/// The name of the file, and the number, of which a member called `name` is a chunk; nil where it is none.
func chunk(_ name: [UInt8]) -> (file: [UInt8], number: Int)? {
    let digits = name.suffix(9)
    guard name.count > 10, name[name.count - 10] == UInt8(ascii: "."), let number = decimal(digits),
        let exact = Int(exactly: number)
    else { return nil }
    return (Array(name.dropLast(10)), exact)
}

/// Whether archivers keep attributes of another member in one of this name, and no file: AppleDouble files of macOS
/// (`._disk.vmdk`), and pax headers that an archiver which did not know them has unpacked (`PaxHeaders.123/disk.vmdk`).
func isAttributes(_ name: [UInt8]) -> Bool {
    if lastComponent(of: name).starts(with: Array("._".utf8)) { return true }
    return name.split(separator: UInt8(ascii: "/")).dropLast().contains { folder in
        folder.elementsEqual("PaxHeaders".utf8) || folder.starts(with: Array("PaxHeaders.".utf8))
    }
}

/// The path in the archive of the relative `name` in `folder`, without `.` and `..`; nil where it leads out of the
/// archive.
func resolved(_ name: [UInt8], from folder: [UInt8]) -> [UInt8]? {
    var path: [ArraySlice<UInt8>] = []
    for part in (folder + [UInt8(ascii: "/")] + name).split(separator: UInt8(ascii: "/")) {
        if part.elementsEqual(".".utf8) { continue }
        guard part.elementsEqual("..".utf8) else {
            path.append(part)
            continue
        }
        guard path.popLast() != nil else { return nil }
    }
    return Array(path.joined(separator: [UInt8(ascii: "/")]))
}

/// What stands before the last slash, without any `./` before it; empty where there is none.
func folder(of name: [UInt8]) -> [UInt8] {
    let plain = withoutDot(name)
    return plain.lastIndex(of: UInt8(ascii: "/")).map { Array(plain[..<$0]) } ?? []
}

/// What the last component of a reference may be: as it is written, with `%xx` decoded, and after the last separator of
/// Windows.
func lastComponents(of href: [UInt8]) -> [[UInt8]] {
    let plain = lastComponent(of: href)
    let decoded = lastComponent(of: percentDecoded(href))
    let windows = decoded.lastIndex(of: UInt8(ascii: "\\")).map { Array(decoded[($0 + 1)...]) }
    return [plain, decoded, windows ?? decoded].filter { !$0.isEmpty }
}

/// The name without any `./` before it.
func withoutDot(_ name: [UInt8]) -> [UInt8] {
    var rest = name[...]
    while rest.starts(with: [UInt8(ascii: "."), UInt8(ascii: "/")]) {
        rest = rest.dropFirst(2).drop { $0 == UInt8(ascii: "/") }
    }
    return Array(rest)
}

/// What follows the last slash.
func lastComponent(of name: [UInt8]) -> [UInt8] {
    guard let slash = name.lastIndex(of: UInt8(ascii: "/")) else { return name }
    return Array(name[(slash + 1)...])
}

/// The name with its ASCII capitals made small.
func lowercased(_ name: [UInt8]) -> [UInt8] {
    name.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 + 32 : $0 }
}

/// The name with every `%xx` made the byte that it stands for (RFC 3986, "Percent-Encoding"). What is no such triple
/// stays as it is. Foundation's `removingPercentEncoding` answers nil for such, and for bytes that are not UTF-8.
func percentDecoded(_ name: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    var index = 0
    while index < name.count {
        if name[index] == UInt8(ascii: "%"), index + 2 < name.count, let high = hexadecimalDigit(name[index + 1]),
            let low = hexadecimalDigit(name[index + 2])
        {
            result.append(high << 4 | low)
            index += 3
        } else {
            result.append(name[index])
            index += 1
        }
    }
    return result
}
