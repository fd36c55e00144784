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
