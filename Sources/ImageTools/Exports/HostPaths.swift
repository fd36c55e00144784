public import BlockImage

/// What a server's answers say of the host's paths: names below the folders that are served, and nothing of where
/// these lie.
public struct HostPaths: PathNaming {
    /// The folders, each with a slash behind it, the longest first.
    private let folders: [String]

    /// Names are given below `folders`, canonical paths.
    init(below folders: [String]) {
        self.folders = folders.map { $0.hasSuffix("/") ? $0 : "\($0)/" }.sorted { $0.utf8.count > $1.utf8.count }
    }

    /// What clients call the file at `path`: its path below the folder that is served, or else its last component. A
    /// relative path that an image states stays as it is, unless it leads upwards; and so does the address of a server.
    public func name(of path: String) -> String {
        let bytes = Array(path.utf8)
        let name = self.name(of: bytes)
        return String(decoding: Self.isOfWindows(name) ? Self.lastOfWindows(name) : name, as: UTF8.self)
    }

    private func name(of path: [UInt8]) -> ArraySlice<UInt8> {
        let parts = path.split(separator: Self.slash)
        let leadsUp = parts.contains { $0.elementsEqual("..".utf8) }
        if !leadsUp, let folder = folders.first(where: { path.starts(with: $0.utf8) }),
            path.count > folder.utf8.count
        {
            return path.dropFirst(folder.utf8.count)
        }
        let scheme = Self.scheme(of: path)
        if let scheme, !scheme.elementsEqual("file".utf8), path[scheme.endIndex...].starts(with: "://".utf8) {
            return path[...]
        }
        let isOutside = leadsUp || path.first == Self.slash || scheme != nil
        return isOutside ? parts.last ?? [] : path[...]
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
    private static func isOfWindows(_ name: ArraySlice<UInt8>) -> Bool {
        guard name.contains(backslash) else { return false }
        let isDrive = name.dropFirst().first == UInt8(ascii: ":")
        return isDrive || name.first == backslash
            || name.split(whereSeparator: isSeparator).contains { $0.elementsEqual("..".utf8) }
    }

    private static func lastOfWindows(_ name: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        name.split(whereSeparator: isSeparator).last ?? []
    }

    private static func isSeparator(_ byte: UInt8) -> Bool { byte == slash || byte == backslash }
}
