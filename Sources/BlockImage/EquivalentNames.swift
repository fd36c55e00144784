/// Names are bytes: `é` in one piece and `e` with an accent behind it look the same, and Swift's strings are equal, but
/// they are two files, two snapshots, two exports.

/// Whether two names are written differently, and mean the same to whoever reads them: canonically equivalent in Unicode.
public func areEquivalent(_ left: some Collection<UInt8>, _ right: some Collection<UInt8>) -> Bool {
    guard !left.elementsEqual(right), let left = String(validating: left, as: UTF8.self),
        let right = String(validating: right, as: UTF8.self)
    else { return false }
    return left == right
}

/// What a given name for one of several things comes to.
public enum NameMatch: Hashable, Sendable {
    /// Nothing is called so.
    case none
    /// The first that has exactly these bytes.
    case exact(Int)
    /// None has these bytes, and this one alone is equivalent to them.
    case equivalent(Int)
    /// None has these bytes, and several are equivalent to them, so that none can be taken.
    case ambiguous([Int])

    /// What `name` comes to among `names`.
    public init(_ name: [UInt8], among names: some Sequence<[UInt8]>) {
        // Nothing that is written otherwise is equivalent to ASCII, but for three signs that are not used in names.
        let isPlain = name.allSatisfy { $0 < 0x80 }
        var others: [Int] = []
        for (index, other) in names.enumerated() {
            if other == name {
                self = .exact(index)
                return
            }
            if !isPlain, areEquivalent(name, other) { others.append(index) }
        }
        self = others.count > 1 ? .ambiguous(others) : others.first.map { .equivalent($0) } ?? .none
    }
}

extension NameMatch {
    /// The place of the only one that `name` may mean, and what people should know where it is written otherwise; nil
    /// where there is none.
    ///
    /// `kind`: what is named, for people. Throws `denied` about `subject` where several look like it, and none is it.
    public static func find(
        _ name: [UInt8], among names: [[UInt8]], kind: String, of subject: ImageError.Subject
    ) throws(ImageError) -> (index: Int, note: ErrorText?)? {
        switch NameMatch(name, among: names) {
        case .none: return nil
        case .exact(let index): return (index, nil)
        case .equivalent(let index):
            return (
                index,
                "\(subject): has no \(kind) \"\(nameText(name))\" as it is written (\(spelled(name))); "
                    + "\"\(spelled(names[index]))\", which looks the same, is taken"
            )
        case .ambiguous(let indices):
            let list = indices.map { "\"\(spelled(names[$0]))\"" }.joined(separator: " and ")
            throw ImageError(
                .denied, about: subject,
                "has no \(kind) \"\(nameText(name))\" as it is written (\(spelled(name))), and \(list) look the same, so that "
                    + "none of them is taken")
        }
    }
}

/// `name` with everything but ASCII written as `\u{301}` or `\xfc`, by which names that look the same can be told apart.
public func spelled(_ name: some Collection<UInt8>) -> String {
    guard let text = String(validating: name, as: UTF8.self) else { return printable(name) }
    return text.unicodeScalars.map { scalar in
        scalar.isASCII ? printable(String(scalar)) : "\\u{\(String(scalar.value, radix: 16))}"
    }.joined()
}
