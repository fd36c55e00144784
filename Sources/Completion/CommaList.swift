/// A list of options as it is typed: `name=value,name`.
package struct CommaList {
    /// What stands in front of the last option.
    private let start: Substring
    /// The last option, as far as it is typed.
    private let item: Substring

    /// The list `text`.
    package init(_ text: String) {
        let comma = text.lastIndex(of: ",")
        start = comma.map { text[...$0] } ?? ""
        item = comma.map { text[text.index(after: $0)...] } ?? text[...]
    }

    /// The lists that it may become, one option further: another of `options`, or one of the values of the last. An option
    /// whose values are nil has none.
    package func words(_ options: [(name: String, values: [String]?)]) -> [String] {
        if let mark = item.firstIndex(of: "=") {
            let values = options.first { $0.name == item[..<mark] }?.values ?? []
            return values.map { "\(start)\(item[...mark])\($0)" }
        }
        let given = start.split(separator: ",").map { $0.prefix { $0 != "=" } }
        return options.filter { option in !given.contains { $0 == option.name } }
            .map { "\(start)\($0.name)\($0.values == nil ? "" : "=")" }
    }
}
