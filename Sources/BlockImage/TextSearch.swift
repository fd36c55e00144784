// Search in texts by their bytes. The standard library's own functions for it are those of regular expressions, whose
// parser comes with them: a megabyte of each program. They also compare characters, to which a following accent belongs.

extension Collection where Element: Equatable {
    /// Where `part`, which is not empty, stands first; nil where it does not.
    package func place(of part: some Collection<Element>) -> Range<Index>? {
        var start = startIndex
        while start != endIndex {
            var (index, other) = (start, part.startIndex)
            while index != endIndex, other != part.endIndex, self[index] == part[other] {
                formIndex(after: &index)
                part.formIndex(after: &other)
            }
            if other == part.endIndex { return start..<index }
            formIndex(after: &start)
        }
        return nil
    }
}

extension StringProtocol {
    /// Whether the bytes of `part`, which is not empty, stand in it.
    package func contains(text part: String) -> Bool { utf8.place(of: part.utf8) != nil }

    /// A copy with `other` in each place of `part`, which is not empty.
    package func replacing(text part: String, with other: String) -> String {
        var result = ""
        var rest = self[...]
        while let place = rest.utf8.place(of: part.utf8) {
            result += rest[..<place.lowerBound] + other
            rest = rest[place.upperBound...]
        }
        return result + rest
    }
}
