import Glibc

/// A word of a command line as it was typed.
struct TypedWord {
    /// What it means: without quotes and escapes.
    var text = ""
    /// The quote that is open at its end.
    var openQuote: Unicode.Scalar?
    /// Whether it has begun: a quote alone is an empty word.
    private var hasBegun = false

    /// The word `text`; as long as that is empty, it has not begun.
    init(text: String = "") {
        self.text = text
    }

    /// The same as a path: `~/` is the home folder, as shells have it.
    var expanded: String {
        // Safe: getenv answers NULL or a C string, which is copied at once.
        guard text.hasPrefix("~/"), let home = unsafe getenv("HOME") else { return text }
        return unsafe String(cString: home) + text.dropFirst()
    }

    /// The words of `line`, of which the last is empty where it ends in a blank. As sh(1) takes them, which other shells do,
    /// too, as far as that matters here. They know no accents that make one character with a quote in front of them.
    static func words(of line: String) -> [TypedWord] {
        var words = [TypedWord()]
        var isEscaped = false
        for letter in line.unicodeScalars {
            var word = words.removeLast()
            let isBlank = " \t\n".unicodeScalars.contains(letter) && word.openQuote == nil && !isEscaped
            guard !isBlank else {
                words.append(word)
                if word.hasBegun { words.append(TypedWord()) }
                continue
            }
            word.hasBegun = true
            switch (word.openQuote, letter) {
            case _ where isEscaped:
                // Between double quotes, other letters keep the backslash in front of them.
                if word.openQuote != nil, !"\\\"$`".unicodeScalars.contains(letter) { word.text.append("\\") }
                word.text.unicodeScalars.append(letter)
                isEscaped = false
            case ("'", "'"), ("\"", "\""): word.openQuote = nil
            case ("'", _): word.text.unicodeScalars.append(letter)
            case (_, "\\"): isEscaped = true
            case ("\"", _): word.text.unicodeScalars.append(letter)
            case (_, "'"), (_, "\""): word.openQuote = letter
            default: word.text.unicodeScalars.append(letter)
            }
            words.append(word)
        }
        return words
    }
}
