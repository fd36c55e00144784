import BlockImage
import FoundationEssentials

extension JSON {
    /// `document` as the verbs write it with --output json, but in one line; paths are called what `naming` says.
    package static func line(encoding document: some Encodable, naming: (any PathNaming)? = nil) throws -> String {
        let encoder = JSONEncoder()
        if let naming, let key = CodingUserInfoKey.pathNaming { encoder.userInfo[key] = naming }
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(document), as: UTF8.self).withoutRawBytes
    }
}

/// A text of JSON that is put together piece by piece, in one line.
struct JSONLine {
    private(set) var text = ""

    /// Adds a piece. Throws `answerTooLong` where that makes more than one answer may have.
    mutating func append(_ piece: String) throws(RPCError) {
        guard text.utf8.count + piece.utf8.count <= ControlSession.answerLimit else {
            throw RPCError(
                .answerTooLong,
                "the answer has more than \(ControlSession.answerLimit) bytes, which is the most: ask for less of it")
        }
        // Line ends are between the values only: in strings they are escapes.
        text += piece.contains("\n") ? piece.split(separator: "\n").joined(separator: " ") : piece
    }
}
