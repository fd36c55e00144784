/// Where a server listens, as people write it: `tcp:HOST:PORT` or `unix:PATH`.
public enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// A host name or address, and a port; 0: any that is free.
    case tcp(host: String, port: UInt16)
    /// A socket in the file system.
    case unix(path: String)

    /// The address that `text` says; nil where it says none. An IPv6 address stands in brackets: `tcp:[::1]:10809`.
    public init?(_ text: String) {
        if text.hasPrefix("unix:") {
            let path = text.dropFirst(5)
            guard !path.isEmpty, !path.utf8.contains(0) else { return nil }
            self = .unix(path: String(path))
            return
        }
        guard text.hasPrefix("tcp:"), let colon = text.lastIndex(of: ":"), let port = UInt16(text[colon...].dropFirst())
        else { return nil }
        let host = text[..<colon].dropFirst(4)
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        guard !host.isEmpty, isBracketed || !host.contains(":") else { return nil }
        self = .tcp(host: String(isBracketed ? host.dropFirst().dropLast() : host), port: port)
    }

    /// As it is written.
    public var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}
