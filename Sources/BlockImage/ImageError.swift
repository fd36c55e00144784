/// What is wrong with an image: which file, which byte, what it is and what it must be, in the format's own terms.
public struct ImageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The few stable kinds of trouble; front ends map them to errno values, exit statuses and RPC codes.
    public enum Code: Hashable, Sendable {
        /// The bytes contradict the format.
        case corrupt
        /// The image is sound as far as we know, but needs something this program does not do.
        case unsupported
        /// The file ends before what the image says it holds.
        case truncated
        /// The image names a file that it may not make this process open.
        case denied
        /// The caller asked for something outside the disk.
        case outOfRange
        /// The operating system said no.
        case system(errno: CInt)

        /// The stable name that `stats.json` and `--output json` show.
        public var name: String {
            switch self {
            case .corrupt: "corrupt"
            case .unsupported: "unsupported"
            case .truncated: "truncated"
            case .denied: "denied"
            case .outOfRange: "out-of-range"
            case .system: "system"
            }
        }
    }

    /// What kind of trouble it is.
    public var code: Code
    /// The file that it is about.
    public var path: String
    /// The byte of the file that it is about, where there is one.
    public var offset: HostOffset?
    /// What is wrong and what it must be.
    public var message: String
    /// What the user of this host can do about it, such as an option of the command; nil where nothing is known. Servers
    /// do not send it: their clients have no such option.
    public var hint: String?

    /// An error about the byte at `offset`, if any, of the file at `path`.
    public init(
        _ code: Code, path: String, offset: HostOffset? = nil, _ message: String, hint: String? = nil
    ) {
        self.code = code
        self.path = path
        self.offset = offset
        self.message = message
        self.hint = hint
    }

    /// `path: at 0x…: message; hint`, one line.
    public var description: String {
        let place = offset.map { "\(path): at \($0)" } ?? path
        return "\(place): \(message)\(hint.map { "; \($0)" } ?? "")"
    }
}

extension ImageError: Encodable {
    private enum CodingKeys: String, CodingKey {
        case code, message, offset
    }

    /// `{"code": …, "message": …, "offset": …}`, as `stats.json` and `--output json` show what is wrong: the message is
    /// the whole line, hint included, and the offset is there where the error is about a byte.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(code.name, forKey: .code)
        try container.encode(description, forKey: .message)
        try container.encodeIfPresent(offset?.rawValue, forKey: .offset)
    }
}
