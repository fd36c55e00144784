/// What came up while a layer was read, and did not keep it from being read. Every method may be called from any thread.
public final class ReadFindings: Sendable {
    /// The most sentences that are kept: a damaged image has as many faults as it has reads.
    static let limit = 16

    private let sentences = Guarded<[ErrorText]>([])

    /// Nothing yet.
    public init() {}

    /// The sentences so far, in the order in which they came up.
    public var all: [ErrorText] { sentences.withLock { $0 } }

    /// Keeps `sentence`, unless it is there already or there are too many.
    public func add(_ sentence: ErrorText) {
        sentences.withLock { sentences in
            if sentences.count < Self.limit, !sentences.contains(sentence) { sentences.append(sentence) }
        }
    }
}
