import BlockImage

/// What a server's answers say of the host's paths: names below the folders that are served, and nothing of where
/// these lie.
public struct HostPaths: Sendable {
    /// The folders, each with a slash behind it, the longest first.
    private let folders: [String]

    /// Names are given below `folders`, canonical paths.
    init(below folders: [String]) {
        self.folders = folders.map { $0.hasSuffix("/") ? $0 : "\($0)/" }.sorted { $0.utf8.count > $1.utf8.count }
    }

    /// What answers say of `error`: neither paths nor hints, which are for who started the server.
    public func told(_ error: ImageError) -> ImageError {
        ImageError(error.code, path: name(of: error.path), offset: error.offset, hidden(in: error.message))
    }

    /// What clients call the file at `path`: its path below the folder that is served, or else its last component.
    public func name(of path: String) -> String {
        // What is asked for is no path, whatever its name looks like.
        guard !path.hasPrefix("export \"") else { return path }
        let bytes = Array(path.utf8)
        guard !Self.leadsUp(bytes[...]) else { return Self.lastComponent(of: bytes[...]) }
        for folder in folders where bytes.starts(with: folder.utf8) && bytes.count > folder.utf8.count {
            return String(decoding: bytes.dropFirst(folder.utf8.count), as: UTF8.self)
        }
        return path.hasPrefix("/") ? Self.lastComponent(of: bytes[...]) : hidden(in: path)
    }

    /// `text`, for people, with names instead of absolute paths, and of relative ones that lead upwards.
    ///
    /// `opening`: what `text` stands behind, a quote where it may be nothing but a path.
    public func hidden(in text: String, behind opening: UInt8 = UInt8(ascii: " ")) -> String {
        let slash = UInt8(ascii: "/")
        guard text.utf8.contains(where: { "/\\".utf8.contains($0) }) else { return text }
        let bytes = Array(text.utf8)
        var told: [UInt8] = []
        told.reserveCapacity(bytes.count)
        var position = 0
        while position < bytes.count {
            if let opening = Self.upward(at: position, in: bytes, behind: opening) {
                // What stands before it is of the same path.
                while let last = told.last, !Self.openings.contains(last) { told.removeLast() }
                let end = Self.end(of: opening, from: position, in: bytes)
                // Windows separates names by backslashes.
                let isOfWindows = bytes[position + 2] == UInt8(ascii: "\\")
                let separators = isOfWindows ? "/\\" : "/"
                told += bytes[position..<end].split { separators.utf8.contains($0) }.last ?? []
                position = end
                continue
            }
            guard bytes[position] == slash, let opening = Self.opening(before: position, in: bytes, behind: opening)
            else {
                told.append(bytes[position])
                position += 1
                continue
            }
            let end = Self.end(of: opening, from: position, in: bytes)
            let path = bytes[position..<end]
            // Where a path ends in prose is not known, but a folder that is served ends where it does.
            if !Self.leadsUp(path), let folder = folders.first(where: { bytes[position...].starts(with: $0.utf8) }) {
                position += folder.utf8.count
            } else {
                told += Array(Self.lastComponent(of: path).utf8)
                position = end
            }
        }
        return String(decoding: told, as: UTF8.self)
    }

    /// What stands before the slash at `position`, where a path may begin there; nil where none does.
    private static func opening(before position: Int, in bytes: [UInt8], behind first: UInt8) -> UInt8? {
        guard position > 0 else { return first }
        let before = bytes[position - 1]
        // A scheme as in nbd:// is followed by no path of this host, unless it is file:.
        let isFile = String(decoding: bytes[..<position].suffix(5), as: UTF8.self).lowercased() == "file:"
        let isScheme =
            !isFile && before == UInt8(ascii: ":") && position + 1 < bytes.count
            && bytes[position + 1] == UInt8(ascii: "/")
        return !isScheme && openings.contains(before) ? before : nil
    }

    /// What a path may stand behind.
    private static let openings = Array(" \"'(=[,:\n\t".utf8)

    /// What stands before the path of which a component `..` is at `position`; nil where there is none.
    private static func upward(at position: Int, in bytes: [UInt8], behind first: UInt8) -> UInt8? {
        guard bytes[position] == UInt8(ascii: "."),
            bytes[position...].starts(with: "../".utf8) || bytes[position...].starts(with: "..\\".utf8)
        else { return nil }
        guard position > 0 else { return first }
        let start =
            "/\\".utf8.contains(bytes[position - 1])
            ? bytes[..<position].lastIndex { openings.contains($0) } : position - 1
        guard let start else { return first }
        return openings.contains(bytes[start]) ? bytes[start] : nil
    }

    private static func end(of opening: UInt8, from start: Int, in bytes: [UInt8]) -> Int {
        let isQuoted = opening == UInt8(ascii: "\"") || opening == UInt8(ascii: "'")
        func end(from position: Int) -> Int {
            bytes[position...].indices.first { isEnd($0) } ?? bytes.count
        }
        func isEnd(_ index: Int) -> Bool {
            let byte = bytes[index]
            if isQuoted {
                let isEscape = byte == UInt8(ascii: "\\") && index + 1 < bytes.count && bytes[index + 1] == opening
                return byte == opening || isEscape
            }
            let isColon =
                byte == UInt8(ascii: ":") && (index + 1 == bytes.count || bytes[index + 1] == UInt8(ascii: " "))
            return isColon || " ,;)]\"\n".utf8.contains(byte)
        }
        var found = end(from: start)
        var position = found
        // Folders may have blanks in their names: words that follow are of the path up to the last that has a slash in it.
        while !isQuoted, position < bytes.count, bytes[position] == UInt8(ascii: " ") {
            let word = bytes[(position + 1)..<end(from: position + 1)]
            guard word.first != UInt8(ascii: "/") else { break }
            position = word.endIndex
            if word.contains(UInt8(ascii: "/")) { found = position }
        }
        return found
    }

    /// Whether a component of `path` is `..`.
    private static func leadsUp(_ path: ArraySlice<UInt8>) -> Bool {
        path.split(separator: UInt8(ascii: "/")).contains { $0.elementsEqual("..".utf8) }
    }

    private static func lastComponent(of path: ArraySlice<UInt8>) -> String {
        let last = path.split(separator: UInt8(ascii: "/")).last ?? []
        return String(decoding: last, as: UTF8.self)
    }
}
