import Foundation

/// What one server did in one measure of one image: a line of JSON, a row of the table.
struct ServeRow: Encodable {
    let image: String
    let measure: String
    let server: String
    let unit: String
    /// The size of the disk in bytes.
    let size: Int
    /// One figure a round.
    var rounds: [Double] = []
    var median: Double?
    var least: Double?
    var most: Double?
    /// By a server's name: the median of the rounds' ratios to its figure in the same round.
    var ratios: [String: Double] = [:]
    /// What the ratio of rblock to qemu-nbd is to be at least, and whether it is.
    var aim: Double?
    var isReached: Bool?
    /// Why there are no figures, or must be no trust in them.
    var problem: String?

    /// How many times the figure of qemu-nbd that of rblock is to be.
    private static let aim = 1.5

    init(_ image: ImageKind, _ measure: NBDMeasure, _ server: NBDServerKind, size: Int, problem: String?) {
        self.image = image.rawValue
        self.measure = measure.rawValue
        self.server = server.rawValue
        unit = measure.unit
        self.size = size
        self.problem = problem
        aim = server == .rblock ? Self.aim : nil
    }

    /// With its rounds summed up beside the same rounds of the others of its measure.
    func compared(with rows: [ServeRow]) -> Self {
        var row = self
        (row.median, row.least, row.most) = (rounds.median, rounds.min(), rounds.max())
        for other in rows where other.server != server && other.rounds.count == rounds.count {
            row.ratios[other.server] = zip(rounds, other.rounds).map { $0 / $1 }.median
        }
        if let aim, let ratio = row.ratios[NBDServerKind.qemu.rawValue] { row.isReached = ratio >= aim }
        return row
    }

    private static let widths = [26, 10, 9, 17, 10, 8]

    /// The table of `rows`, with an empty line before it.
    static func table(_ rows: [ServeRow], titled title: String) -> String {
        let peers = [NBDServerKind.qemu.rawValue, NBDServerKind.nbdkit.rawValue]
        let header = ["", "server", "median", "least … most"] + peers.map { "× \($0)" }
        var lines = ["", title, columns(header, widths, leftAligned: 2) + "  target"]
        var before: [String] = []
        for row in rows {
            let isFirst = !before.contains(row.measure)
            let isSecond = before.count { $0 == row.measure } == 1
            before.append(row.measure)
            let measure = NBDMeasure(rawValue: row.measure)?.title ?? row.measure
            let fields = [isFirst ? measure : isSecond ? "  \(row.unit)" : "", row.server]
            if let problem = row.problem {
                lines.append(columns(fields, widths, leftAligned: 2) + "  " + problem)
                continue
            }
            func figure(_ value: Double?) -> String { value.map { String(format: "%.0f", $0) } ?? "–" }
            let ratios = peers.map { row.ratios[$0].map { String(format: "%.2f", $0) } ?? "" }
            let figures = [figure(row.median), "\(figure(row.least)) … \(figure(row.most))"] + ratios
            let target = row.isReached.map { "  \($0 ? "✓" : "✗") \((row.aim ?? 0).formatted())" } ?? ""
            lines.append(columns(fields + figures, widths, leftAligned: 2) + target)
        }
        return lines.map { String($0.reversed().drop { $0 == " " }.reversed()) }.joined(separator: "\n")
    }
}
