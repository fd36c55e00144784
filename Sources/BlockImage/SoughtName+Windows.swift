extension SoughtName {
    /// The file that an image of Windows names by `paths`, the best first, in `place`: each is looked for as it is, with the
    /// separators of this host, unless it begins at a drive or a share; then by the last two components of each, in a folder
    /// beside that of the image; and by the last one, beside the image.
    public init(windowsPaths paths: [String], in place: String) {
        var candidates: [Candidate] = []
        func add(_ name: [UInt8], isSaid: Bool = false) {
            guard !candidates.contains(where: { $0.name == name }) else { return }
            candidates.append(
                Candidate(name: name, reading: isSaid ? nil : "\(path: nameText(name)) is read"))
        }
        let split = paths.map { path in
            path.split { $0 == "\\" || $0 == "/" }.map { String($0).nameBytes }.filter { $0 != [dot] }
        }
        for (path, components) in zip(paths, split) where !path.isOfDrive && !components.isEmpty {
            add((path.hasPrefix("/") ? [slash] : []) + components.joined(separator: [slash]), isSaid: true)
        }
        let last = split.compactMap { components in components.last.flatMap { isName($0) ? $0 : nil } }
        for components in split where components.count > 1 {
            let end = components.suffix(2).map(Array.init)
            guard end.allSatisfy(isName) else { continue }
            add(Array([[dot, dot], end[0], end[1]].joined(separator: [slash])))
        }
        for name in last { add(name) }
        self.init(
            text: paths.first ?? "", place: place, candidates: candidates, lastComponent: last.first, ignoresCase: true)
    }
}

extension String {
    /// Whether it begins at a drive, a share or the root of Windows, none of which this host has.
    fileprivate var isOfDrive: Bool {
        let start = Array(utf8.prefix(2))
        guard let first = start.first else { return false }
        let isLetter = (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first | 0x20)
        return first == UInt8(ascii: "\\") || (isLetter && start.count > 1 && start[1] == UInt8(ascii: ":"))
    }
}

/// Whether `component` may be the name of a file: no way to another folder, and no drive.
private func isName(_ component: [UInt8]) -> Bool {
    !component.isEmpty && component != [dot] && component != [dot, dot] && component.last != UInt8(ascii: ":")
}

private let slash = UInt8(ascii: "/")
private let dot = UInt8(ascii: ".")
