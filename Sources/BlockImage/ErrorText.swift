/// What an error or a note says, in pieces, so that each front end can decide what its readers get of them: clients
/// of a network server get neither paths of this host, nor what only its user can do.
///
/// Made of a string literal: `"backing file \"\(path: name)\": is no file"`. An error or a text in one brings its own
/// pieces.
public struct ErrorText: Sendable {
    fileprivate enum Piece: Sendable {
        case plain(String)
        /// A path of this host, or a file name that an image states, which may have folders in it.
        case path(String)
        /// A text of an image in which any number of file names may be.
        case quote(String)
        /// What the user of this host can do, with what separates it from the words before it.
        case hint(String)
    }

    fileprivate var pieces: [Piece]

    /// `text`, in which no path is.
    public init(_ text: String) {
        pieces = [.plain(text)]
    }

    /// `texts` with `separator` between them.
    public init(_ texts: [ErrorText], separator: String) {
        pieces = []
        for text in texts {
            if !pieces.isEmpty { pieces.append(.plain(separator)) }
            pieces += text.pieces
        }
    }

    /// The text for readers who know paths by the names of `naming`; nil: for the user of this host, who gets all of it.
    public func text(naming: (any PathNaming)?) -> String {
        guard let naming else { return description }
        return pieces.reduce(into: "") { text, piece in
            switch piece {
            case .plain(let words): text += words
            case .path(let path): text += naming.name(of: path)
            case .quote(let words): text += words.utf8.contains { "/\\".utf8.contains($0) } ? "…" : words
            case .hint: break
            }
        }
    }

    /// Whether it has no words.
    public var isEmpty: Bool { description.isEmpty }

    /// The text with `transform` of all its words.
    public func map(_ transform: (String) -> String) -> Self {
        var text = self
        text.pieces = pieces.map { piece in
            switch piece {
            case .plain(let words): .plain(transform(words))
            case .path(let words): .path(transform(words))
            case .quote(let words): .quote(transform(words))
            case .hint(let words): .hint(transform(words))
            }
        }
        return text
    }

    /// Both, one after the other.
    public static func + (left: Self, right: Self) -> Self {
        var sum = left
        sum += right
        return sum
    }

    /// Appends `more`.
    public static func += (text: inout Self, more: Self) {
        text.pieces += more.pieces
    }
}

/// How readers who are not at this host know its files.
public protocol PathNaming: Sendable {
    /// What they call the file at `path`, of this host or as an image states it.
    func name(of path: String) -> String
}

extension CodingUserInfoKey {
    /// The `PathNaming` that texts are encoded with; without it they are for the user of this host.
    public static let pathNaming = CodingUserInfoKey(rawValue: "pathNaming")
}

extension Encoder {
    /// How paths are written here: see `pathNaming`.
    public var pathNaming: (any PathNaming)? {
        CodingUserInfoKey.pathNaming.flatMap { userInfo[$0] } as? any PathNaming
    }
}

extension ErrorText: Hashable {
    /// Whether the user of this host reads the same.
    public static func == (left: Self, right: Self) -> Bool { left.description == right.description }

    /// See `Hashable`.
    public func hash(into hasher: inout Hasher) { hasher.combine(description) }
}

extension ErrorText: CustomStringConvertible {
    /// The whole text, for the user of this host.
    public var description: String {
        pieces.reduce(into: "") { text, piece in
            switch piece {
            case .plain(let words), .path(let words), .quote(let words), .hint(let words): text += words
            }
        }
    }
}

extension ErrorText: Encodable {
    /// One string.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text(naming: encoder.pathNaming))
    }
}

extension ErrorText: ExpressibleByStringInterpolation {
    /// See `ExpressibleByStringInterpolation`.
    public struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var pieces: [Piece] = []

        /// See `StringInterpolationProtocol`.
        public init(literalCapacity: Int, interpolationCount: Int) {
            pieces.reserveCapacity(2 * interpolationCount + 1)
        }

        /// See `StringInterpolationProtocol`.
        public mutating func appendLiteral(_ literal: String) {
            if !literal.isEmpty { pieces.append(.plain(literal)) }
        }

        /// Words, or a number.
        public mutating func appendInterpolation(_ value: some Any) { pieces.append(.plain("\(value)")) }

        /// A path of this host, or a file name that an image states.
        public mutating func appendInterpolation(path: String) { pieces.append(.path(path)) }

        /// A text of an image, a line for instance, in which any number of file names may be.
        public mutating func appendInterpolation(quoting words: String) { pieces.append(.quote(words)) }

        /// What the user of this host can do, such as an option of the command, with what separates it from the words
        /// before it.
        public mutating func appendInterpolation(hint: String) { pieces.append(.hint(hint)) }

        /// Another text.
        public mutating func appendInterpolation(_ text: ErrorText) { pieces += text.pieces }

        /// The whole line of an error, hint included.
        public mutating func appendInterpolation(_ error: ImageError) { pieces += error.text.pieces }

        /// An error of any kind.
        public mutating func appendInterpolation(_ error: any Error) {
            if let error = error as? ImageError {
                appendInterpolation(error)
            } else {
                pieces.append(.plain("\(error)"))
            }
        }

        /// What an error is about.
        public mutating func appendInterpolation(_ subject: ImageError.Subject) {
            if case .file(let path) = subject {
                pieces.append(.path(path))
            } else {
                pieces.append(.plain("\(subject)"))
            }
        }
    }

    /// See `ExpressibleByStringInterpolation`.
    public init(stringLiteral text: String) { self.init(text) }

    /// See `ExpressibleByStringInterpolation`.
    public init(stringInterpolation: StringInterpolation) { pieces = stringInterpolation.pieces }
}
