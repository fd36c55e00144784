import AccessLog
import BlockImage
import Catalog
import Glibc
import Logging
import NIOCore
import Synchronization

/// What the connections of a server share. May be used from any thread.
final class Serving: Sendable {
    let catalog: ExportCatalog
    let tls: TLSServer
    /// Answer options that may open images, for one connection each.
    let handshakes = KeyedThreads<ObjectIdentifier>(threadsPerKey: 1, threadLimit: Connections.limit)
    /// Read what takes longer than a few microseconds, for one image each: for disks that are slow, more than processors.
    let readers = KeyedThreads<ObjectIdentifier>(
        threadsPerKey: readersPerImage, threadLimit: readersPerImage * Connections.limit)
    /// Change an image, likewise.
    let writers = KeyedThreads<ObjectIdentifier>(
        threadsPerKey: readersPerImage, threadLimit: readersPerImage * Connections.limit)
    /// Does what is to be done now and then.
    private let housekeeping = KeyedThreads<Int>(threadsPerKey: 1, threadLimit: 1, waitingLimit: 1)
    let connections = Connections()
    /// What answers take until their clients have read them.
    let replies = MemoryBudget(limit: 64 << 20)
    /// What every connection may have besides: so that those who read are served, however many do not.
    static let ownReplySize: UInt64 = 256 << 10
    /// What is to be written takes until it is, and what every connection may have of it besides.
    let payloads = MemoryBudget(limit: 64 << 20)
    static let ownPayloadSize: UInt64 = 256 << 10
    private let writeNotice = SeldomNotice()
    let logger: Logger

    private static let readersPerImage = 16

    init(catalog: ExportCatalog, tls: TLSServer, logger: Logger) {
        self.catalog = catalog
        self.tls = tls
        self.logger = logger
    }

    /// Something could not be written to `export`: logs that, if it was not logged lately.
    func noteWriteFault(_ error: ImageError, of export: Export, _ peer: Peer) {
        guard writeNotice.isDue() else { return }
        logger.warning("\(printable("\(peer): export \"\(export.name)\": cannot be written to: \(error)"))")
    }

    /// A connection ends that had much memory: the system gets it back.
    func giveBackSoon() {
        _ = housekeeping.run(for: 0) {
            // What else ends now is given back with it.
            for microseconds: UInt32 in [200_000, 800_000] {
                usleep(microseconds)
                giveBackMemory()
            }
        }
    }
}

/// Tells a connection that the server is going to stop.
struct ServerStops: Sendable {}

/// When something last came from a client, or was taken by it. May be used from any thread.
final class Activity: Sendable {
    private let last = Atomic<UInt64>(NIODeadline.now().uptimeNanoseconds)

    func note() { last.store(NIODeadline.now().uptimeNanoseconds, ordering: .relaxed) }

    /// How long that is ago.
    var idleTime: TimeAmount {
        NIODeadline.now() - NIODeadline.uptimeNanoseconds(last.load(ordering: .relaxed))
    }
}

/// The connections of a server: no more than it can bear. Every method may be called from any thread.
final class Connections: Sendable {
    /// The most at a time.
    static let limit = 100
    /// How long a connection that uses an export may be idle where another one wants its place.
    private static let idleLimit = TimeAmount.seconds(30)

    private struct State {
        var channels: [ObjectIdentifier: (channel: any Channel, record: ConnectionRecord)] = [:]
        /// Those that have chosen an export.
        var used: [ObjectIdentifier: Activity] = [:]
        /// Those that have not chosen an export yet, the oldest first.
        var greeted: [ObjectIdentifier] = []
        var isStopping = false
    }

    private let state = Guarded(State())

    /// Whether it takes in no more, since the server ends.
    var isStopping: Bool { state.withLock { $0.isStopping } }

    /// How many there are.
    var count: Int { state.withLock { $0.channels.count } }

    /// How long ago something came or was taken on the one that uses an export and is the least idle; 0 where none does.
    var shortestIdleTime: TimeAmount { state.withLock { $0.used.values.map(\.idleTime).min() ?? .zero } }

    /// Takes in a connection; false where there is no room. Room is made by closing the one that has been in its handshake
    /// for longest, or else the one that has been idle for longest, where that is more than 30 seconds.
    func add(_ channel: any Channel, _ record: ConnectionRecord) -> Bool {
        let (isIn, closed) = state.withLock { state -> (Bool, (channel: any Channel, record: ConnectionRecord)?) in
            guard !state.isStopping else { return (false, nil) }
            var closed: (channel: any Channel, record: ConnectionRecord)?
            if state.channels.count >= Self.limit {
                guard let oldest = state.greeted.first ?? Self.idlest(of: state) else { return (false, nil) }
                state.greeted.removeAll { $0 == oldest }
                state.used[oldest] = nil
                closed = state.channels.removeValue(forKey: oldest)
            }
            state.channels[ObjectIdentifier(channel)] = (channel, record)
            state.greeted.append(ObjectIdentifier(channel))
            return (true, closed)
        }
        closed?.record.noteEnding("there are \(Self.limit) connections, and a new one takes the place of this one")
        closed?.channel.close(promise: nil)
        return isIn
    }

    /// The connection that has been idle for longest, and too long; nil where there is none.
    private static func idlest(of state: State) -> ObjectIdentifier? {
        let times = state.used.map { (id: $0.key, time: $0.value.idleTime) }
        return times.filter { $0.time > idleLimit }.max { $0.time < $1.time }?.id
    }

    /// The connection has chosen an export. What comes and goes on it is to be noted from now on.
    func noteTransmission(_ channel: any Channel) -> Activity {
        let (id, activity) = (ObjectIdentifier(channel), Activity())
        state.withLock { state in
            state.greeted.removeAll { $0 == id }
            if state.channels[id] != nil { state.used[id] = activity }
        }
        return activity
    }

    /// The connection is gone.
    func remove(_ channel: any Channel) {
        state.withLock { state in
            state.channels[ObjectIdentifier(channel)] = nil
            state.used[ObjectIdentifier(channel)] = nil
            state.greeted.removeAll { $0 == ObjectIdentifier(channel) }
        }
    }

    /// Takes in no more, and answers those that there are.
    func stop() -> [(channel: any Channel, record: ConnectionRecord)] {
        state.withLock { state in
            state.isStopping = true
            return Array(state.channels.values)
        }
    }
}
