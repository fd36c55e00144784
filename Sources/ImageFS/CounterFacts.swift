import BlockImage
import Synchronization

/// The live counters, as `stats.json` has them.
struct CounterFacts: Encodable {
    /// How long reads took, in microseconds.
    struct Latency: Encodable {
        var p50: UInt64
        var p90: UInt64
        var p99: UInt64
        var max: UInt64
    }

    /// The most bytes of the last error's message that are shown: the text must not outgrow its padding.
    private static let messageLimit = 300

    private var opens: UInt64
    private var reads: UInt64
    private var bytesRead: UInt64
    private var readErrors: UInt64
    private var lastError: String?
    private var latency: Latency
    private var tableCacheHits: UInt64?
    private var tableCacheMisses: UInt64?
    private var decompressions: UInt64?

    private enum CodingKeys: String, CodingKey {
        case opens, reads, decompressions
        case bytesRead = "bytes-read"
        case readErrors = "read-errors"
        case lastError = "last-error"
        case latency = "read-microseconds"
        case tableCacheHits = "table-cache-hits"
        case tableCacheMisses = "table-cache-misses"
    }

    /// The figures of a disk, and of the layers of its image, which all disks of the image share.
    init(_ figures: ReadFigures, _ layers: ReadCounters? = nil) {
        opens = figures.opens
        reads = figures.reads
        bytesRead = figures.bytesRead
        readErrors = figures.readErrors
        lastError = figures.lastError.map(Self.shortened)
        latency = Latency(
            p50: figures.latencies.quantile(500), p90: figures.latencies.quantile(900),
            p99: figures.latencies.quantile(990), max: figures.latencies.longest)
        tableCacheHits = layers?.tableHits.load(ordering: .relaxed)
        tableCacheMisses = layers?.tableMisses.load(ordering: .relaxed)
        decompressions = layers?.decompressions.load(ordering: .relaxed)
    }

    /// As many characters as each can ever have.
    static let widest = CounterFacts()

    private init() {
        opens = .max
        reads = .max
        bytesRead = .max
        readErrors = .max
        // Each takes two characters.
        lastError = String(repeating: "\\", count: Self.messageLimit)
        latency = Latency(p50: .max, p90: .max, p99: .max, max: .max)
        tableCacheHits = .max
        tableCacheMisses = .max
        decompressions = .max
    }

    /// The message, shortened, and without what takes more than two characters in JSON.
    private static func shortened(_ message: String) -> String {
        let text = String(
            decoding: message.utf8.map { $0 < 0x20 || $0 == 0x7f ? 0x20 : $0 }.prefix(messageLimit), as: UTF8.self)
        // A character that was cut in the middle has become a longer one.
        return text.utf8.count <= messageLimit ? text : String(text.dropLast())
    }
}
