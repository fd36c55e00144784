import BlockImage
import Glibc

/// Where a server listens, as people write it: `tcp:HOST:PORT` or `unix:PATH`.
package enum ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// A host name or address, and a port; 0: any that is free.
    case tcp(host: String, port: UInt16)
    /// A socket in the file system.
    case unix(path: String)

    /// The address that `text` says; nil where it says none. An IPv6 address stands in brackets: `tcp:[::1]:10809`.
    package init?(_ text: String) {
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
    package var description: String {
        switch self {
        case .tcp(let host, let port): host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
        case .unix(let path): "unix:\(path)"
        }
    }
}

/// The address of a Unix socket, as the kernel takes it: unix(7).
struct UnixName {
    /// The most bytes that a name may have: sun_path without the NUL behind it.
    static let sizeLimit = 107

    private let bytes: [UInt8]

    /// A socket in the file system. Nil for a path that is empty or too long.
    init?(_ path: String) {
        guard let own = Self(name: path.nameBytes + [0]) else { return nil }
        self = own
    }

    /// A socket by its path, or of an abstract name that is written with "@" before it, as services get it. Nil
    /// for names of other kinds.
    init?(ofService name: String) {
        var bytes = Array(name.utf8)
        switch bytes.first {
        case UInt8(ascii: "/"): bytes.append(0)
        case UInt8(ascii: "@"): bytes[0] = 0
        default: return nil
        }
        guard let own = Self(name: bytes) else { return nil }
        self = own
    }

    private init?(name: [UInt8]) {
        guard (2...Self.sizeLimit + 1).contains(name.count) else { return nil }
        // Safe: the bytes are copied.
        bytes = unsafe withUnsafeBytes(of: sa_family_t(AF_UNIX)) { unsafe Array($0) } + name
    }

    /// Lets `body`, a system call, see the address; answers -1 as these do where there is none.
    func withAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
        // Safe: the bytes are those of a whole sockaddr_un, and live during the call.
        unsafe bytes.withUnsafeBytes { address in
            guard let start = unsafe address.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return -1 }
            return unsafe body(start, socklen_t(address.count))
        }
    }
}
