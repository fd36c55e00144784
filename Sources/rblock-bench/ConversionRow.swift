import Foundation

/// What one program did in one conversion: a line of JSON, a row of the table.
struct ConversionRow: Encodable {
    let conversion: String
    let converter: String
    /// The size of the disk in bytes.
    let diskSize: Int
    /// The bytes that what was written takes on the host.
    var writtenSize: Int?
    /// Seconds, one figure a round.
    var rounds: [Double] = []
    var median: Double?
    var least: Double?
    var most: Double?
    /// The program that it is compared with.
    var peer: String?
    /// The median of the rounds' ratios of the peer's seconds to its own.
    var timesAsFast: Double?
    /// What `timesAsFast` is to be at least, and whether it is.
    var aim: Double?
    var isReached: Bool?
    /// Why there are no figures.
    var problem: String?

    init(_ conversion: Conversion, _ converter: Converter, diskSize: Int) {
        self.conversion = conversion.rawValue
        self.converter = converter.rawValue
        self.diskSize = diskSize
        peer = converter.peer?.rawValue
        aim = converter.peer.map { _ in conversion.aim }
    }

    /// Sums up the rounds, beside the same rounds of its peer among `rows`.
    mutating func compare(with rows: [ConversionRow]) {
        (median, least, most) = (rounds.median, rounds.min(), rounds.max())
        guard let other = rows.first(where: { $0.converter == peer }), other.rounds.count == rounds.count else {
            return
        }
        timesAsFast = zip(rounds, other.rounds).map { $1 / $0 }.median
        if let timesAsFast, let aim { isReached = timesAsFast >= aim }
    }

    private static let widths = [24, 9, 17, 10, 12]

    /// The table of `rows`, with an empty line before it.
    static func table(_ rows: [ConversionRow], titled title: String) -> String {
        let header = ["program", "median", "least … most", "MiB", "× its peer"]
        var lines = ["", "\(title), seconds", columns(header, widths, leftAligned: 1) + "  target"]
        for row in rows {
            let name = Converter(rawValue: row.converter)?.title ?? row.converter
            if let problem = row.problem {
                lines.append(columns([name], widths, leftAligned: 1) + "  " + problem)
                continue
            }
            func figure(_ value: Double?) -> String { value.map { String(format: "%.2f", $0) } ?? "–" }
            let fields = [
                name, figure(row.median), "\(figure(row.least)) … \(figure(row.most))",
                row.writtenSize.map { "\($0 >> 20)" } ?? "–", row.timesAsFast.map { figure($0) } ?? "",
            ]
            let target = row.isReached.map { "  \($0 ? "✓" : "✗") \((row.aim ?? 0).formatted())" } ?? ""
            lines.append(columns(fields, widths, leftAligned: 1) + target)
        }
        return lines.map { String($0.reversed().drop { $0 == " " }.reversed()) }.joined(separator: "\n")
    }
}
