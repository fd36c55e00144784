/// How quickly the reads of one connection are served, to tell what they wait for.
///
/// What lies in the host's memory is copied in a few microseconds: then the thread that took the request from its socket
/// does it best, since handing it on and back takes ten. What must be inflated, or comes from a disk, is done by other
/// threads, several at once, while this one goes on serving its connections. A client that waits for a single read gains
/// nothing by that: its read is done in place unless that takes long.
struct ReadLatency {
    /// What a read may take that is done in place: this, and half a nanosecond for each byte.
    private static let allowance: UInt64 = 25_000
    /// How much more it may take where the client asks for nothing else meanwhile: a cluster is inflated in that time.
    private static let allowanceAlone = 10.0
    /// What a read counts at most: one that waited for long says no more than that it did.
    private static let most = 16.0

    /// What the last reads took, 1 being what they may take.
    private var load = 0.5

    /// Whether the next read is likely to be done at once; `alone`: the client asks for nothing else meanwhile.
    func isQuick(alone: Bool) -> Bool { load < (alone ? Self.allowanceAlone : 1) }

    /// What a read was answered with is sent from the page cache: it is done at once wherever that is found out.
    mutating func noteSent() { load -= load / 8 }

    /// A read had to wait for a disk.
    mutating func noteWait() { load += (Self.most - load) / 8 }

    /// A read of `count` bytes took `nanoseconds`.
    mutating func note(_ count: UInt64, took nanoseconds: UInt64) {
        let ratio = Double(nanoseconds) / Double(Self.allowance + count / 2)
        load += (min(ratio, Self.most) - load) / 8
    }
}
