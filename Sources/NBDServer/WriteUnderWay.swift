import BlockImage
import Catalog
import NIOCore

/// A request to write that is under way. Its payload is written in pieces, each once it is there: what it takes does not grow
/// with what is written.
final class WriteUnderWay {
    /// The most bytes of one piece; those of one disk meet at multiples of it.
    static let pieceSize: UInt64 = 2 << 20

    let request: Request
    /// Where the piece begins that is coming.
    var position: UInt64
    /// That piece, and how long it will be; 0 where there is no memory for it yet.
    var piece = ByteBuffer()
    var count: UInt64 = 0
    var memory: TakenMemory?
    /// How many pieces are being written.
    var pieces = 0
    /// Why one of them could not be written.
    var error: NBDError?
    /// Whether no more of it comes.
    var isReceived = false

    init(_ request: Request) {
        self.request = request
        position = request.offset
    }

    /// How long the next piece is to be.
    var nextCount: UInt64 {
        let end = request.offset + request.length
        return min(end - position, Self.pieceSize - position % Self.pieceSize)
    }
}

/// A piece until a thread takes it or its connection ends. May be used from any thread.
final class Payload: Sendable {
    private let state: Guarded<(bytes: ByteBuffer, memory: TakenMemory?)?>

    init(_ bytes: ByteBuffer, _ memory: TakenMemory?) {
        state = Guarded((bytes, memory))
    }

    /// The piece; nil where it was taken before.
    func take() -> (bytes: ByteBuffer, memory: TakenMemory?)? {
        state.withLock { state in
            defer { state = nil }
            return state
        }
    }
}

/// The pieces of one connection that are being written.
struct PayloadLoad {
    /// What they take, and what of it is the connection's own.
    var bytes: UInt64 = 0
    var own: UInt64 = 0
    var payloads: [ObjectIdentifier: Payload] = [:]
}
