import BlockImage

/// What tests look for in texts, as in strings: what the user of this host reads.
extension ErrorText {
    /// Whether `words` are in it.
    package func contains(_ words: String) -> Bool { description.contains(words) }
    /// Whether it begins with `words`.
    package func hasPrefix(_ words: String) -> Bool { description.hasPrefix(words) }
    /// Whether it ends with `words`.
    package func hasSuffix(_ words: String) -> Bool { description.hasSuffix(words) }
}
