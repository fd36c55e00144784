import BlockImage

/// What happened on a connection of a server, for people as a line of text, and as JSON: rblock-json(5), "The access log".
package struct AccessEvent: Encodable, Sendable {
    /// What happened. The names are those in JSON, and stay.
    package enum Kind: String, Encodable, Sendable {
        case connect, tls, export, refused, disconnect
        /// A client has named an export that there is not.
        case unknownExport = "unknown-export"
        /// Events that were not logged, since there were too many.
        case lost
    }

    /// What is spoken on a connection.
    package enum Service: String, Encodable, Sendable {
        case nbd
        case jsonRPC = "json-rpc"
    }

    private enum CodingKeys: String, CodingKey {
        case time, event, `protocol`, connection, peer, pid, uid, address, user, export, size, reason, requests,
            orderly, count
        case bytesRead = "bytes-read"
        case bytesWritten = "bytes-written"
        case seconds = "duration-seconds"
    }

    /// The most bytes of a text that a client has sent, as it is logged.
    static let textLimit = 256

    /// When it happened: RFC 3339, in UTC.
    package let time = utcTimestamp()
    package let event: Kind
    package var `protocol`: Service?
    /// The number of the connection, which begins with 1 when the server starts.
    package var connection: UInt64?
    package var peer: String?
    /// The process and the user of a client over a Unix socket.
    package var pid: Int32?
    package var uid: UInt32?
    /// Where the client has connected to.
    package var address: String?
    /// Who the client is by TLS: the subject of its certificate, or the name that goes with its key.
    package var user: String?
    package var export: String?
    /// The bytes of the export.
    package var size: UInt64?
    /// Why something was refused, or a connection has ended.
    package var reason: String?
    package var requests: UInt64?
    /// The bytes of disks that the client was sent, holes among them.
    package var bytesRead: UInt64?
    /// The bytes that the client has sent and that were written; nil for none.
    package var bytesWritten: UInt64?
    /// How long the connection lasted.
    package var seconds: Double?
    /// Whether the connection has ended as its protocol says.
    package var orderly: Bool?
    /// How many events were lost.
    package var count: UInt64?

    init(_ event: Kind) { self.event = event }

    /// `count` events that were not logged.
    package static func lost(_ count: UInt64) -> Self {
        var event = Self(.lost)
        event.count = count
        return event
    }

    /// One line for people, without the time. What comes from clients does nothing to a terminal.
    package var text: String {
        let what =
            switch event {
            case .connect: "connected to \(address ?? "")"
            case .tls: user.map { "TLS, user \(Self.quoted($0))" } ?? "TLS, of a client that need not say who it is"
            case .export: "opened export \(Self.quoted(export ?? "")), \(counted(size ?? 0, "byte"))"
            case .unknownExport: "unknown export \(Self.quoted(export ?? "")): \(reason ?? "")"
            case .refused: "refused: \(reason ?? "")"
            case .disconnect: ending
            case .lost: "\(counted(count ?? 0, "event")) not logged: there were too many"
            }
        return printable(who.isEmpty ? what : "\(who): \(what)")
    }

    private var who: String {
        guard let peer else { return "" }
        // Clients of Unix sockets have no ports to tell connections of one process apart.
        return pid == nil ? peer : "\(peer) (connection \(connection ?? 0))"
    }

    private var ending: String {
        let what = export.map { "disconnected from export \(Self.quoted($0))" } ?? "disconnected"
        let tenths = Int((seconds ?? 0) * 10)
        return "\(what): \(counted(requests ?? 0, "request")), \(counted(bytesRead ?? 0, "byte")) read, "
            + (bytesWritten.map { "\($0) written, " } ?? "")
            + "\(tenths / 10).\(tenths % 10) s" + (reason.map { "; \($0)" } ?? "")
    }

    private static func quoted(_ name: String) -> String { "\"\(name)\"" }
}

extension String {
    /// The text as far as it is logged, with a mark where it is longer.
    var clippedForLog: String {
        guard utf8.count > AccessEvent.textLimit else { return self }
        var bytes = 0
        let start = unicodeScalars.prefix { scalar in
            bytes += UTF8.width(scalar)
            return bytes <= AccessEvent.textLimit
        }
        return String(start) + "…"
    }
}
