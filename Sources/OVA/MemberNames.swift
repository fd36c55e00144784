/// Finds members of an archive by the names that other files have for them. Only regular files, and sparse ones, are
/// known; when a name comes twice, it is the last one.
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

    /// Knows `members` by their indices.
    init(_ members: [TarMember]) {
        for (index, member) in members.enumerated() where member.isFile {
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
            }
        }
    }

    /// The member that the relative reference `href` of a descriptor is: the one with exactly that name, else without a
    /// leading `./` of either, else with `%xx` decoded, because references are URIs, else in whatever case.
    func member(_ href: [UInt8]) -> Int? {
        let name = withoutDot(href)
        let decoded = percentDecoded(name)
        return exact[href] ?? plain[name] ?? plain[decoded] ?? lowercase[lowercased(name)]
            ?? lowercase[lowercased(decoded)]
    }

    /// The chunks of the file `href`, by the same rules; nil where there are none.
    func chunks(_ href: [UInt8]) -> Chunks? {
        let name = withoutDot(href)
        let decoded = percentDecoded(name)
        return chunkSets[name] ?? chunkSets[decoded]
            ?? lowercaseChunkSets[lowercased(name)].flatMap { chunkSets[$0] }
            ?? lowercaseChunkSets[lowercased(decoded)].flatMap { chunkSets[$0] }
    }

    /// The members whose last component is `name`, in the order of the archive.
    func members(lastComponent name: [UInt8]) -> [Int] { byLastComponent[name] ?? [] }
}

extension TarMember {
    /// Whether it is a file, and not a folder, a link or a device.
    var isFile: Bool { kind == .regular || kind == .sparse }
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
/// stays as it is.
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
