import Glibc

/// What is wrong with an image: which file, which byte, what it is and what it must be, in the format's own terms.
///
/// A value: front ends make words of it, and those who read images over a network get names instead of paths, and no hint.
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

        /// There is no such file.
        public static let missing = Code.system(errno: ENOENT)

        /// The stable name that `stats.json` and `--output json` show.
        public var name: String {
            switch self {
            case .corrupt: "corrupt"
            case .unsupported: "unsupported"
            case .truncated: "truncated"
            case .denied: "denied"
            case .outOfRange: "out-of-range"
            case .system(errno: ENOENT): "not-found"
            case .system(errno: EEXIST): "exists"
            case .system: "system"
            }
        }
    }

    /// What an error is about.
    public enum Subject: Hashable, Sendable, CustomStringConvertible {
        /// A file or a device, by its path, which only the user of this host gets.
        case file(String)
        /// The disk that is read.
        case disk
        /// What a server was asked for by this name; nil where the client gave none.
        case export(String?)
        /// What else has a name, and is no file: a disk that is served, an address, a stream.
        case named(String)

        /// What the user of this host reads.
        public var description: String {
            switch self {
            case .file(let name), .named(let name): name
            case .disk: "disk"
            case .export(let name?): "export \"\(name)\""
            case .export(nil): "export"
            }
        }

        /// What those read who know paths by the names of `naming`.
        public func text(naming: any PathNaming) -> String {
            if case .file(let path) = self { naming.name(of: path) } else { description }
        }
    }

    /// What kind of trouble it is.
    public var code: Code
    /// What it is about.
    public var subject: Subject
    /// The byte of the file that it is about, where there is one.
    public var offset: HostOffset?
    /// What is wrong and what it must be.
    public var detail: ErrorText
    /// What the user of this host can do about it, such as an option of the command; nil where nothing is known. Servers
    /// do not send it: their clients have no such option.
    public var hint: String?

    /// An error about the byte at `offset`, if any, of the file at `path`.
    public init(
        _ code: Code, path: String, offset: HostOffset? = nil, _ detail: ErrorText, hint: String? = nil
    ) {
        self.init(code, about: .file(path), offset: offset, detail, hint: hint)
    }

    /// An error about `subject`.
    public init(
        _ code: Code, about subject: Subject, offset: HostOffset? = nil, _ detail: ErrorText, hint: String? = nil
    ) {
        self.code = code
        self.subject = subject
        self.offset = offset
        self.detail = detail
        self.hint = hint
    }

    /// What it is about, for the user of this host: the path of a file.
    public var path: String { subject.description }

    /// What is wrong and what it must be, for the user of this host.
    public var message: String { detail.description }

    /// `path: at 0x…: message; hint`, one line.
    public var text: ErrorText {
        let place: ErrorText = offset.map { "\(subject): at \($0)" } ?? "\(subject)"
        return "\(place): \(detail)\(hint: hint.map { "; \($0)" } ?? "")"
    }

    /// The line, for the user of this host.
    public var description: String { text.description }
}

extension ImageError: Encodable {
    private enum CodingKeys: String, CodingKey {
        case code, message, file, offset, hint
    }

    /// `{"code": …, "message": …, "file": …, "offset": …, "hint": …}`, as `stats.json` and `--output json` show what is wrong:
    /// the message is the whole line; the file, the offset in it and the hint are there by themselves, too, where there
    /// are such. Clients of servers, for whom files have other names than their paths, get no hint.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(code.name, forKey: .code)
        try container.encode(text, forKey: .message)
        if case .file(let path) = subject { try container.encode(PathText(path), forKey: .file) }
        try container.encodeIfPresent(offset?.rawValue, forKey: .offset)
        if encoder.pathNaming == nil { try container.encodeIfPresent(hint, forKey: .hint) }
    }
}
