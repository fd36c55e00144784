import BlockImage
import Glibc

/// A stream socket that listens at an address: who connects waits until a server takes it. May be used from any thread.
package final class ListeningSocket: Sendable {
    /// Where it listens: with the port that was found where any was asked for, and the address instead of a name.
    package let address: ListenAddress
    /// Whether only programs of this host reach it.
    package let isLocal: Bool
    /// Whether clients have a word for it: URIs have none for a Unix socket without a file.
    package let isNamed: Bool
    private let descriptor: Guarded<CInt?>
    /// The file of a Unix socket that is to be removed in the end.
    private let file: SocketFile?

    /// The most clients that wait to be taken.
    private static let backlog: CInt = 128

    /// Binds a socket to `address`, and listens. A Unix socket is its owner's alone (0600); one that is left of a server
    /// that is gone is replaced.
    ///
    /// Throws `system`, with EADDRINUSE where a process listens there.
    package init(_ address: ListenAddress) throws(ImageError) {
        let bound: CInt
        isNamed = true
        switch address {
        case .unix(let path):
            bound = try Self.bind(toUnix: path)
            file = SocketFile(at: path)
            descriptor = Guarded(bound)
            self.address = address
            isLocal = true
        case .tcp(let host, let port):
            bound = try Self.bind(toTCP: host, port)
            let own = Self.address(of: bound)
            file = nil
            descriptor = Guarded(bound)
            self.address = own?.address ?? address
            isLocal = own?.isLocal ?? false
        }
        guard Glibc.listen(bound, Self.backlog) == 0 else { throw Self.failure(errno, "\(address)") }
    }

    /// A socket that another program has bound, which also removes it in the end.
    private init(passed descriptor: CInt) {
        let own = Self.address(of: descriptor)
        self.descriptor = Guarded(descriptor)
        file = nil
        address = own?.address ?? .unix(path: "passed")
        isLocal = own?.isLocal ?? false
        isNamed = if case .unix(let path)? = own?.address { path.hasPrefix("/") } else { own != nil }
    }

    deinit {
        if let left = takeDescriptor() { close(left) }
        remove()
    }

    /// The descriptor, once, for the server that then owns it.
    package func takeDescriptor() -> CInt? {
        descriptor.withLock { descriptor in
            defer { descriptor = nil }
            return descriptor
        }
    }

    /// Removes the file of a Unix socket, unless another server has put its own there since.
    package func remove() {
        guard case .unix(let path) = address, let file, let now = SocketFile(at: path), file == now else { return }
        // Safe: a string of ours.
        unsafe _ = unlink(cString(path))
    }

    /// The sockets that systemd passes to this process (socket activation: sd_listen_fds_with_names(3)), in its order,
    /// with their FileDescriptorName; none where it was started otherwise. To be called once, before there are threads.
    package static func passed() -> [(name: String, socket: ListeningSocket)] {
        // Safe: getenv answers NULL or a C string, which is copied at once.
        func variable(_ name: String) -> String? { unsafe getenv(name).map { unsafe String(cString: $0) } }
        defer { for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsafe _ = unsetenv(name) } }
        guard variable("LISTEN_PID").flatMap({ pid_t($0) }) == getpid(),
            let count = variable("LISTEN_FDS").flatMap({ Int($0) }), (1...256).contains(count)
        else { return [] }
        let names = variable("LISTEN_FDNAMES").map { $0.split(separator: ":", omittingEmptySubsequences: false) } ?? []
        return (0..<count).compactMap { index in
            // The first that is passed is always 3 (SD_LISTEN_FDS_START).
            let descriptor = CInt(index + 3)
            guard fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0 else { return nil }
            return (index < names.count ? String(names[index]) : "", ListeningSocket(passed: descriptor))
        }
    }
}

extension ListeningSocket {
    private static func bind(toUnix path: String) throws(ImageError) -> CInt {
        guard let name = UnixName(path) else { throw failure(ENAMETOOLONG, "unix:\(path)") }
        let descriptor = try make(AF_UNIX, for: "unix:\(path)")
        // What bind creates has the permissions of the socket, without those of the umask.
        fchmod(descriptor, 0o600)
        // Safe: the address stands during each call.
        if unsafe name.withAddress({ unsafe Glibc.bind(descriptor, $0, $1) }) == 0 { return descriptor }
        if errno == EADDRINUSE, isStale(name, path), unsafe unlink(cString(path)) == 0,
            unsafe name.withAddress({ unsafe Glibc.bind(descriptor, $0, $1) }) == 0
        {
            return descriptor
        }
        let reason = errno
        close(descriptor)
        throw failure(reason, "unix:\(path)")
    }

    /// Whether the file at `path` is a socket that no process listens at.
    private static func isStale(_ name: UnixName, _ path: String) -> Bool {
        var status = stat()
        // Safe: lstat fills a structure of ours.
        guard unsafe lstat(cString(path), &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else {
            errno = EADDRINUSE
            return false
        }
        let probe = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        defer { close(probe) }
        // Safe: the address stands during the call.
        let result = unsafe name.withAddress { unsafe connect(probe, $0, $1) }
        let isRefused = result != 0 && errno == ECONNREFUSED
        errno = EADDRINUSE
        return isRefused
    }

    private static func bind(toTCP host: String, _ port: UInt16) throws(ImageError) -> CInt {
        let name = ListenAddress.tcp(host: host, port: port).description
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE
        var found: UnsafeMutablePointer<addrinfo>?
        let result = unsafe getaddrinfo(host, "\(port)", &hints, &found)
        // Safe: getaddrinfo answers a list that stands until freeaddrinfo, or an error.
        guard result == 0, let first = unsafe found else {
            let reason = unsafe String(cString: gai_strerror(result))
            throw ImageError(.system(errno: EADDRNOTAVAIL), about: .named(name), "no address of this host: \(reason)")
        }
        defer { unsafe freeaddrinfo(first) }
        let descriptor = try unsafe make(first.pointee.ai_family, for: name)
        var on: CInt = 1
        // Safe: an integer of ours. A server that is started again need not wait for old connections.
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<CInt>.size))
        guard unsafe Glibc.bind(descriptor, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0 else {
            let reason = errno
            close(descriptor)
            throw failure(reason, name)
        }
        return descriptor
    }

    private static func make(_ family: CInt, for name: String) throws(ImageError) -> CInt {
        let descriptor = socket(family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure(errno, name) }
        return descriptor
    }

    private static func failure(_ number: CInt, _ name: String) -> ImageError {
        // Safe: strerror answers a C string, which is copied at once.
        let reason =
            number == EADDRINUSE ? "another process listens there already" : unsafe String(cString: strerror(number))
        return ImageError(.system(errno: number), about: .named(name), "listen: \(reason)")
    }

    /// The address that a socket is bound to; nil for a family that is not served.
    private static func address(of descriptor: CInt) -> (address: ListenAddress, isLocal: Bool)? {
        var storage = [UInt8](repeating: 0, count: MemoryLayout<sockaddr_storage>.size)
        var size = socklen_t(storage.count)
        // Safe: getsockname writes at most as many bytes as the array has.
        let result = unsafe storage.withUnsafeMutableBytes { bytes in
            unsafe getsockname(descriptor, bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self), &size)
        }
        guard result == 0, size >= 2 else { return nil }
        let family = CInt(storage[0]) | CInt(storage[1]) << 8
        let port = UInt16(storage[2]) << 8 | UInt16(storage[3])
        switch family {
        case AF_INET:
            let host = storage[4..<8].map { "\($0)" }.joined(separator: ".")
            return (.tcp(host: host, port: port), storage[4] == 127)
        case AF_INET6:
            var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            // Safe: an address of 16 bytes, and room of the size that is given.
            unsafe storage.withUnsafeBytes { bytes in
                unsafe _ = inet_ntop(AF_INET6, bytes.baseAddress?.advanced(by: 8), &text, socklen_t(text.count))
            }
            let host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return (.tcp(host: host, port: port), host == "::1" || host.hasPrefix("::ffff:127."))
        case AF_UNIX:
            let name = storage[2..<max(2, Int(size))]
            // A name without a file: unix(7), "abstract".
            if name.first == 0 { return (.unix(path: "@" + nameText(name.dropFirst())), true) }
            return (.unix(path: nameText(name.prefix { $0 != 0 })), true)
        default: return nil
        }
    }
}

/// The bytes of a path, as functions of C take it.
private func cString(_ path: String) -> [CChar] { path.nameBytes.map { CChar(bitPattern: $0) } + [0] }

/// Which file the socket at a path is. Numbers of files are used again; the time tells one that has the number later.
private struct SocketFile: Hashable {
    let device: dev_t
    let number: ino_t
    let seconds: Int
    let nanoseconds: Int

    init?(at path: String) {
        var status = stat()
        // Safe: lstat fills a structure of ours.
        guard unsafe lstat(cString(path), &status) == 0 else { return nil }
        (device, number) = (status.st_dev, status.st_ino)
        (seconds, nanoseconds) = (status.st_ctim.tv_sec, status.st_ctim.tv_nsec)
    }
}
