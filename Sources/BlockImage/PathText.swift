/// A path of this host in a document, or a file name that an image states. Readers over a network get the name that they
/// know the file by: see `PathNaming`.
public struct PathText: Hashable, Sendable {
    /// The path.
    public var text: String
    /// Whether it is what readers call the file already.
    private var isName = false

    /// The path `text`.
    public init(_ text: String) {
        self.text = text
    }

    /// A file that readers call `name`.
    public init(named name: String) {
        text = name
        isName = true
    }
}

extension PathText: CustomStringConvertible {
    /// The path.
    public var description: String { text }
}

extension PathText: ExpressibleByStringLiteral {
    /// See `ExpressibleByStringLiteral`.
    public init(stringLiteral text: String) { self.init(text) }
}

extension PathText: Encodable {
    /// One string.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(isName ? text : encoder.pathNaming?.name(of: text) ?? text)
    }
}
