import Glibc
import NIOCore

/// The other side of a connection.
package struct Peer: Hashable, Sendable, CustomStringConvertible {
    /// For people: an address and a port, or a process and its user.
    package let description: String
    /// Of a Unix socket: the process that has connected, and its user.
    package var pid: Int32?
    package var uid: UInt32?

    /// The client that is not connected by a socket.
    package static let standardInput = Peer(description: "standard input")

    private init(description: String) { self.description = description }

    /// The other side of `channel`, on whose event loop this is.
    package init(of channel: any Channel) {
        if let host = channel.remoteAddress?.ipAddress, let port = channel.remoteAddress?.port {
            // Clients by IPv4 of a socket for IPv6: RFC 4291, section 2.5.5.2.
            let plain = host.hasPrefix("::ffff:") && host.contains(".") ? String(host.dropFirst(7)) : host
            self.init(description: plain.contains(":") ? "[\(plain)]:\(port)" : "\(plain):\(port)")
            return
        }
        guard let found = Credentials(of: channel) else {
            self.init(description: "unknown peer")
            return
        }
        self.init(description: "pid \(found.pid), uid \(found.uid)")
        (pid, uid) = (found.pid, found.uid)
    }

    /// The kernel's struct ucred: unix(7), SO_PEERCRED.
    private struct Credentials: Sendable {
        var pid: Int32 = 0
        var uid: UInt32 = 0
        var gid: UInt32 = 0

        init?(of channel: any Channel) {
            guard let provider = channel as? any SocketOptionProvider else { return nil }
            var found: Self?
            // A structure of three integers, as the option has.
            let option: EventLoopFuture<Self> = provider.unsafeGetSocketOption(
                level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
            // On the loop of the channel the answer is there at once.
            option.assumeIsolated().whenSuccess { found = $0 }
            guard let found, found.uid != UInt32.max else { return nil }
            self = found
        }
    }
}
