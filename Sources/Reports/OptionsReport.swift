/// The options that new images of a format have, what `-o help` prints.
package struct OptionsReport: Encodable, Sendable {
    /// One of them.
    package struct Option: Encodable, Sendable {
        /// What stands before the equals sign.
        package var name: String
        /// What it may be, and what it means.
        package var help: String
        /// Its values, where they have names.
        package var values: [String]?
    }

    /// The format.
    package var format: String
    /// In the order that people are shown.
    package var options: [Option]

    /// The `options` of `format`.
    package init(format: String, _ options: [(name: String, help: String, values: [String])]) {
        self.format = format
        self.options = options.map { Option(name: $0.name, help: $0.help, values: $0.values.isEmpty ? nil : $0.values) }
    }
}
