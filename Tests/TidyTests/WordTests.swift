import Testing

struct `The words` {
    /// Words and phrases that are not used: for people who do not exist, and for what has a name in the field.
    static let banned = [
        "nobody", "somebody", "is told", "who reads", "crew", "pace", "farewell", "lies behind", "room for",
    ]

    /// Where a banned word is the name of a user of the system.
    private static let names = ["setuid=nobody", "--user nobody", "the user nobody", "contains(\"nobody\")"]

    @Test(arguments: banned)
    func `of sources, tests and documents are those of the field`(word: String) throws {
        let kinds: Set<String> = ["swift", "c", "h", "md", "sh", "service", "mount", "fstab", "5", "7"]
        var files = try ["Sources", "Tests", "Documents", "findings"].flatMap {
            try Sources.files(in: $0, kinds: kinds)
        }
        let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
        for name in pages + ["Makefile", "Package.swift"] {
            files.append(Sources.File(module: "", name: name, lines: try Sources.lines(of: name)))
        }
        for file in files where !file.name.hasSuffix("/WordTests.swift") {
            for (index, line) in file.lines.enumerated() where line.lowercased().contains(word) {
                var text = line.lowercased()
                for name in Self.names { text = text.replacing(name, with: "") }
                if holds(text, word) { Issue.record("\(file.name):\(index + 1): '\(word)': \(line)") }
            }
        }
    }

    /// Whether `text` has `word`, and not only as a part of a longer word.
    private func holds(_ text: String, _ word: String) -> Bool {
        text.ranges(of: word).contains { range in
            let before = range.lowerBound == text.startIndex ? nil : text[text.index(before: range.lowerBound)]
            let after = range.upperBound == text.endIndex ? nil : text[range.upperBound]
            return before?.isLetter != true && after?.isLetter != true
        }
    }
}
