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
    func name(of path: String) -> String {
        for folder in folders where path.utf8.starts(with: folder.utf8) && path.utf8.count > folder.utf8.count {
            return String(decoding: path.utf8.dropFirst(folder.utf8.count), as: UTF8.self)
        }
        return path.hasPrefix("/") ? Self.lastComponent(of: Array(path.utf8)[...]) : hidden(in: path)
    }

    /// `text`, for people or of JSON, with names instead of absolute paths.
    public func hidden(in text: String) -> String {
        let slash = UInt8(ascii: "/")
        guard text.utf8.contains(slash) else { return text }
        let bytes = Array(text.utf8)
        var told: [UInt8] = []
        told.reserveCapacity(bytes.count)
        var position = 0
        while position < bytes.count {
            guard bytes[position] == slash, let opening = Self.opening(before: position, in: bytes) else {
                told.append(bytes[position])
                position += 1
                continue
            }
            let end = Self.end(of: opening, from: position, in: bytes)
            let path = bytes[position..<end]
            // Where a path ends in prose is not known, but a folder that is served ends where it does.
            if let folder = folders.first(where: { bytes[position...].starts(with: $0.utf8) }) {
                position += folder.utf8.count
            } else {
                told += Array(Self.lastComponent(of: path).utf8)
                position = end
            }
        }
        return String(decoding: told, as: UTF8.self)
    }

    /// What stands before the slash at `position`, where a path may begin there; nil where none does.
    private static func opening(before position: Int, in bytes: [UInt8]) -> UInt8? {
        guard position > 0 else { return UInt8(ascii: " ") }
        let before = bytes[position - 1]
        // A scheme as in nbd:// is followed by no path of this host.
        let isScheme =
            before == UInt8(ascii: ":") && position + 1 < bytes.count && bytes[position + 1] == UInt8(ascii: "/")
        return !isScheme && " \"'(=[,:\n\t".utf8.contains(before) ? before : nil
    }

    private static func end(of opening: UInt8, from start: Int, in bytes: [UInt8]) -> Int {
        let isQuoted = opening == UInt8(ascii: "\"") || opening == UInt8(ascii: "'")
        let rest = bytes[start...].indices
        return rest.first { index in
            let byte = bytes[index]
            if isQuoted {
                let isEscape = byte == UInt8(ascii: "\\") && index + 1 < bytes.count && bytes[index + 1] == opening
                return byte == opening || isEscape
            }
            let isColon =
                byte == UInt8(ascii: ":") && (index + 1 == bytes.count || bytes[index + 1] == UInt8(ascii: " "))
            return isColon || " ,;)]\"\n".utf8.contains(byte)
        } ?? bytes.count
    }

    private static func lastComponent(of path: ArraySlice<UInt8>) -> String {
        let last = path.split(separator: UInt8(ascii: "/")).last ?? []
        return String(decoding: last, as: UTF8.self)
    }
}
