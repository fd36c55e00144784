import Glibc

/// What started this process as a service, and wants to hear how it is: systemd with Type=notify.
///
/// The protocol is that of sd_notify(3): lines of NAME=VALUE in one datagram to the socket that NOTIFY_SOCKET names. It
/// is promised to stay, and too small to link a library for.
struct ServiceManager {
    /// A socket that is connected while this process may still do so: a user whom it becomes may not find the way.
    private let descriptor: CInt

    /// Nil where nobody wants to hear. Takes the variable away: what this process starts has nothing to tell.
    static func take() -> ServiceManager? {
        // Safe: getenv returns NULL or a C string, which is copied at once; it is called before there are threads.
        guard let value = unsafe getenv("NOTIFY_SOCKET") else { return nil }
        let name = unsafe String(cString: value)
        unsafe _ = unsetenv("NOTIFY_SOCKET")
        return ServiceManager(socket: name)
    }

    /// A socket by its path, or of an abstract name that is written with "@" before it. Nil for names of other kinds.
    private init?(socket name: String) {
        let limit = 107
        var bytes = Array(name.utf8)
        guard bytes.count <= limit, let first = bytes.first else { return nil }
        switch first {
        case UInt8(ascii: "/"): bytes.append(0)
        case UInt8(ascii: "@"): bytes[0] = 0
        default: return nil
        }
        // Safe: the bytes are copied.
        // Safe: the bytes are copied.
        let address = unsafe withUnsafeBytes(of: sa_family_t(AF_UNIX)) { unsafe Array($0) } + bytes
        descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        // Safe: the bytes are those of a whole sockaddr_un, and live during the call.
        let result = unsafe address.withUnsafeBytes { address in
            guard let start = unsafe address.baseAddress?.assumingMemoryBound(to: sockaddr.self) else {
                return -1 as CInt
            }
            return unsafe connect(descriptor, start, socklen_t(address.count))
        }
        guard result == 0 else {
            close(descriptor)
            return nil
        }
    }

    /// Tells a state, such as "READY=1", and in words what the service does. Who cannot be reached is not told.
    func tell(_ state: String, status: String) {
        // A line end in a path would begin another line of the protocol.
        let status = status.unicodeScalars.map { $0.value < 32 ? "?" : String($0) }.joined()
        let message = Array("\(state)\nSTATUS=\(status)".utf8)
        // Safe: the array lives during the call.
        unsafe message.withUnsafeBytes { message in
            unsafe _ = send(descriptor, message.baseAddress, message.count, CInt(MSG_NOSIGNAL))
        }
    }
}
