// What ArgumentParser takes from Foundation, in the programs of `make release`: see `without-foundation`.

extension Error {
    /// What is wrong.
    func describe() -> String { String(describing: self) }
}

enum JSONEncoder {
    /// `value` as JSON, over several lines.
    static func encode(_ value: some Encodable) -> String {
        (try? JSON(encoding: value))?.textForPeople ?? ""
    }
}
