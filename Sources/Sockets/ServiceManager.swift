import Glibc

/// What started this process as a service, and wants to hear how it is: systemd with Type=notify.
///
/// The protocol is that of sd_notify(3): lines of NAME=VALUE in one datagram to the socket that NOTIFY_SOCKET names. It
/// is promised to stay, and too small to link a library for.
package struct ServiceManager: Sendable {
    /// A socket that is connected while this process may still do so: a user whom it becomes may not find the way.
    private let descriptor: CInt

    /// Nil where no service manager listens. Takes the variable away: what this process starts has nothing to tell.
    package static func take() -> ServiceManager? {
        // Safe: getenv returns NULL or a C string, which is copied at once; it is called before there are threads.
        guard let value = unsafe getenv("NOTIFY_SOCKET") else { return nil }
        let name = unsafe String(cString: value)
        unsafe _ = unsetenv("NOTIFY_SOCKET")
        return ServiceManager(socket: name)
    }

    private init?(socket name: String) {
        guard let name = UnixName(ofService: name) else { return nil }
        descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        // Safe: the address stands during the call.
        guard unsafe name.withAddress({ unsafe connect(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            return nil
        }
    }

    /// Tells a state, such as "READY=1", and in words what the service does. Who cannot be reached is not told.
    package func tell(_ state: String, status: String) {
        // A line end in a path would begin another line of the protocol.
        let status = status.unicodeScalars.map { $0.value < 32 ? "?" : String($0) }.joined()
        let message = Array("\(state)\nSTATUS=\(status)".utf8)
        // Safe: the array lives during the call.
        unsafe message.withUnsafeBytes { message in
            unsafe _ = send(descriptor, message.baseAddress, message.count, CInt(MSG_NOSIGNAL))
        }
    }
}
