import BlockImage
import Glibc

/// A stream socket that is connected to a server. For use by one thread.
package final class ConnectedSocket {
    /// Its descriptor, which is closed with the last reference.
    package let descriptor: CInt

    /// Connects to whoever listens at `address`: of a host name, at the first of its addresses that answers.
    ///
    /// Throws `system` where none does.
    package init(to address: ListenAddress) throws(ImageError) {
        switch address {
        case .unix(let path): descriptor = try Self.connect(toUnix: path, "\(address)")
        case .tcp(let host, let port): descriptor = try Self.connect(toTCP: host, port, "\(address)")
        }
    }

    deinit {
        close(descriptor)
    }

    private static func connect(toUnix path: String, _ name: String) throws(ImageError) -> CInt {
        guard let unixName = UnixName(path) else { throw failure(ENAMETOOLONG, name) }
        let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure(errno, name) }
        // Safe: the address stands during the call.
        guard unsafe unixName.withAddress({ unsafe Glibc.connect(descriptor, $0, $1) }) == 0 else {
            let reason = errno
            close(descriptor)
            throw failure(reason, name)
        }
        return descriptor
    }

    private static func connect(toTCP host: String, _ port: UInt16, _ name: String) throws(ImageError) -> CInt {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let result = unsafe getaddrinfo(host, "\(port)", &hints, &found)
        // Safe: getaddrinfo answers a list that stands until freeaddrinfo, or an error.
        guard result == 0, let first = unsafe found else {
            let reason = unsafe String(cString: gai_strerror(result))
            throw ImageError(.system(errno: EADDRNOTAVAIL), about: .named(name), "connect: \(reason)")
        }
        defer { unsafe freeaddrinfo(first) }
        var reason = EADDRNOTAVAIL
        var next: UnsafeMutablePointer<addrinfo>? = unsafe first
        while let info = unsafe next {
            let descriptor = unsafe socket(
                info.pointee.ai_family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
            if descriptor >= 0 {
                if unsafe Glibc.connect(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0 {
                    return descriptor
                }
                reason = errno
                close(descriptor)
            }
            unsafe next = info.pointee.ai_next
        }
        throw failure(reason, name)
    }

    private static func failure(_ number: CInt, _ name: String) -> ImageError {
        // Safe: strerror answers a C string, which is copied at once.
        ImageError(.system(errno: number), about: .named(name), "connect: \(unsafe String(cString: strerror(number)))")
    }
}
