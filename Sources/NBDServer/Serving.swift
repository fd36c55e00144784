import BlockImage
import ImageTools
import Logging
import NIOCore
import NIOPosix
import NIOSSL

/// What the connections of a server share. May be used from any thread.
final class Serving: Sendable {
    let catalog: ExportCatalog
    let tls: TLSMode
    /// Nil where there is no TLS.
    let tlsContext: NIOSSLContext?
    /// Does what takes longer than a few microseconds.
    let crew: NIOThreadPool
    let connections = Connections()
    let logger: Logger

    init(catalog: ExportCatalog, tls: TLSMode, tlsContext: NIOSSLContext?, crew: NIOThreadPool, logger: Logger) {
        self.catalog = catalog
        self.tls = tls
        self.tlsContext = tlsContext
        self.crew = crew
        self.logger = logger
    }
}

/// Tells a connection that the server is going to stop.
struct ServerStops: Sendable {}

/// The connections of a server: no more than it can bear. Every method may be called from any thread.
final class Connections: Sendable {
    /// The most at a time.
    static let limit = 100

    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        /// Those that have not chosen an export yet, the oldest first.
        var greeted: [ObjectIdentifier] = []
        var isStopping = false
    }

    private let state = Guarded(State())

    /// How many there are.
    var count: Int { state.withLock { $0.channels.count } }

    /// Takes in a connection; false where there is no room. Room is made by closing one that has been in its handshake
    /// for longest: idle connections keep nobody out.
    func add(_ channel: any Channel) -> Bool {
        let (isIn, closed) = state.withLock { state -> (Bool, (any Channel)?) in
            guard !state.isStopping else { return (false, nil) }
            var closed: (any Channel)?
            if state.channels.count >= Self.limit {
                guard let oldest = state.greeted.first else { return (false, nil) }
                state.greeted.removeFirst()
                closed = state.channels.removeValue(forKey: oldest)
            }
            state.channels[ObjectIdentifier(channel)] = channel
            state.greeted.append(ObjectIdentifier(channel))
            return (true, closed)
        }
        closed?.close(promise: nil)
        return isIn
    }

    /// The connection has chosen an export.
    func noteTransmission(_ channel: any Channel) {
        state.withLock { $0.greeted.removeAll { $0 == ObjectIdentifier(channel) } }
    }

    /// The connection is gone.
    func remove(_ channel: any Channel) {
        state.withLock { state in
            state.channels[ObjectIdentifier(channel)] = nil
            state.greeted.removeAll { $0 == ObjectIdentifier(channel) }
        }
    }

    /// Takes in no more, and answers those that there are.
    func stop() -> [any Channel] {
        state.withLock { state in
            state.isStopping = true
            return Array(state.channels.values)
        }
    }
}
