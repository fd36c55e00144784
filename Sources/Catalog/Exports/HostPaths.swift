import BlockImage

/// What a server's answers say of the host's paths: names below the folders that are served, and nothing of where
/// these lie.
package struct HostPaths: PathNaming {
    /// The folders, each with a slash behind it, the longest first.
    private let folders: [String]

    /// Names are given below `folders`, canonical paths.
    init(below folders: [String]) {
        self.folders = folders.map { $0.hasSuffix("/") ? $0 : "\($0)/" }.sorted { $0.utf8.count > $1.utf8.count }
    }

    /// What clients call the file at `path`: its path below the folder that is served, or else its last component. A
    /// relative path that an image states stays as it is, unless it leads upwards; of what QEMU reads as a protocol, the
    /// address of a server stays, without its query, and else the protocol and the last component.
    package func name(of path: String) -> String {
        let bytes = Array(path.utf8)
        return String(decoding: nameBelowFolders(bytes) ?? Self.statedName(bytes), as: UTF8.self)
    }

    private func nameBelowFolders(_ path: [UInt8]) -> [UInt8]? {
        guard !Self.leadsUp(path), let folder = folders.first(where: { path.starts(with: $0.utf8) }),
            path.count > folder.utf8.count
        else { return nil }
        let name = Array(path.dropFirst(folder.utf8.count))
        return Self.leadsUpOnWindows(name) ? Self.lastOfWindows(name) : name
    }

    /// What is left of a name that leads to no folder that is served.
    private static func statedName(_ path: [UInt8]) -> [UInt8] {
        guard let scheme = scheme(of: path) else {
            if isOfWindows(path) { return lastOfWindows(path) }
            return leadsUp(path) || path.first == slash
                ? path.split(separator: slash).last.map { Array($0) } ?? [] : path
        }
        let name = String(decoding: scheme, as: UTF8.self).lowercased()
        let rest = path[(scheme.endIndex + 1)...].prefix { $0 != UInt8(ascii: "?") }
        if name == "json" { return Array("json:{…}".utf8) }
        // Without a host, what follows is a path.
        let isOfServer =
            name != "file" && rest.starts(with: "//".utf8) && rest.dropFirst(2).first.map { $0 != slash } == true
        if isOfServer { return Array(path[..<rest.endIndex]) }
        return (name == "file" ? [] : scheme + ":".utf8) + lastOfWindows(Array(rest))
    }

    private static func leadsUp(_ path: [UInt8]) -> Bool {
        path.split(separator: slash).contains { $0.elementsEqual("..".utf8) }
    }

    private static let slash = UInt8(ascii: "/")
    private static let backslash = UInt8(ascii: "\\")

    /// What stands before the colon of a name as `file:/a` or `json:{…}`; nil where it has none. One letter would be a
    /// drive.
    private static func scheme(of name: [UInt8]) -> ArraySlice<UInt8>? {
        guard let end = name.firstIndex(where: { $0 == slash || $0 == UInt8(ascii: ":") }), name[end] != slash, end > 1
        else { return nil }
        return name[..<end]
    }

    /// Whether backslashes separate the components of `name`: it begins at a drive or a share, or leads upwards by them.
    private static func isOfWindows(_ name: [UInt8]) -> Bool {
        guard name.contains(backslash) else { return false }
        let isDrive = name.dropFirst().first == UInt8(ascii: ":")
        return isDrive || name.first == backslash || leadsUpOnWindows(name)
    }

    private static func leadsUpOnWindows(_ name: [UInt8]) -> Bool {
        name.contains(backslash)
            && name.split(whereSeparator: isSeparator).contains { $0.elementsEqual("..".utf8) }
    }

    private static func lastOfWindows(_ name: [UInt8]) -> [UInt8] {
        name.split(whereSeparator: isSeparator).last.map { Array($0) } ?? []
    }

    private static func isSeparator(_ byte: UInt8) -> Bool { byte == slash || byte == backslash }
}
