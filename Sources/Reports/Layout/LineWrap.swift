/// Text for people in lines that a terminal shows as they are: words that do not fit go on below.
package struct LineWrap: Sendable {
    /// The least columns that lines are made for: words of names and numbers do not fit into fewer.
    private static let least = 40

    /// How many characters a line has at most; nil: as many as it takes, as in files and pipes.
    private let limit: Int?

    /// For lines of `columns` characters; nil: lines stay as they are.
    package init(columns: Int? = nil) {
        limit = columns.map { max($0, Self.least) }
    }

    /// Whether `text` has space behind `used` columns of a line.
    func fits(_ text: String, behind used: Int = 0) -> Bool {
        limit.map { Self.width(text) <= $0 - used } ?? true
    }

    /// `line`, without its end, with ends of lines in place of the blanks at which it is too long. What follows begins at the
    /// column `hanging`, or by default four behind the first word; a word that has no space there begins further left. A word
    /// longer than a line is whole, so that it can be copied.
    package func wrapped(_ line: String, hanging: Int? = nil) -> String {
        guard let limit, !fits(line) else { return line }
        let first = line.prefix { $0 == " " }.count
        let hanging = min(hanging ?? first + 4, limit - Self.least / 2)
        var text = ""
        var column = 0
        for piece in Self.pieces(of: line) {
            let width = Self.width(piece.word)
            if column == 0 || column + piece.blanks + width <= limit {
                text += String(repeating: " ", count: piece.blanks) + piece.word
                column += piece.blanks + width
            } else {
                let start = hanging + width <= limit ? hanging : min(hanging, first + 4, max(0, limit - width))
                text += "\n" + String(repeating: " ", count: start) + piece.word
                column = start + width
            }
        }
        return text
    }

    /// Each line of `text` so.
    package func lines(_ text: String, hanging: Int? = nil) -> String {
        guard limit != nil else { return text }
        return text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { wrapped(String($0), hanging: hanging) }.joined(separator: "\n")
    }

    /// The words of `line`, and how many blanks are in front of each.
    private static func pieces(of line: String) -> [(blanks: Int, word: String)] {
        var pieces: [(blanks: Int, word: String)] = []
        var blanks = 0
        for part in line.split(separator: " ", omittingEmptySubsequences: false) {
            if !part.isEmpty {
                pieces.append((blanks, String(part)))
                blanks = 0
            }
            blanks += 1
        }
        return pieces
    }

    /// The columns that `text` takes: none for an escape sequence of a colour, two for a wide character.
    static func width(_ text: String) -> Int {
        var width = 0
        var isInSequence = false
        for character in text {
            if character == "\u{1b}" { isInSequence = true }
            if !isInSequence { width += isWide(character) ? 2 : 1 }
            if character == "m" { isInSequence = false }
        }
        return width
    }

    /// Whether terminals show `character` two columns wide: scripts of East Asia, and pictures.
    private static func isWide(_ character: Character) -> Bool {
        guard let value = character.unicodeScalars.first?.value, value >= 0x1100 else { return false }
        switch value {
        case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f, 0xff00...0xff60,
            0xffe0...0xffe6, 0x1f300...0x1faff, 0x20000...0x3fffd:
            return true
        default: return false
        }
    }
}
