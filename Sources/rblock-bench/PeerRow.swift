import Foundation

/// What one server did in one measure beside its peers: a line of JSON, a row of the table.
struct PeerRow: Encodable {
    /// What the figure of a server is to be, at least, in terms of that of a peer; or by itself, where `times` is nil.
    struct Aim: Encodable {
        let times: String?
        let atLeast: Double
        /// nil: the peer has no figure.
        var isReached: Bool?
    }

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
    var aims: [Aim] = []
    /// What an overlay took on the host afterwards, in bytes.
    var overlaySize: Int?
    /// The most memory that it took, in bytes, where that was measured.
    var peakMemory: Int?
    /// Why there are no figures, or must be no trust in them.
    var problem: String?

    init(image: String, measure: String, server: String, unit: String, size: Int) {
        self.image = image
        self.measure = measure
        self.server = server
        self.unit = unit
        self.size = size
    }

    /// With its rounds summed up beside the same rounds of the others of its measure.
    func compared(with rows: [PeerRow]) -> Self {
        var row = self
        (row.median, row.least, row.most) = (rounds.median, rounds.min(), rounds.max())
        for other in rows
        where other.server != server && other.problem == nil && other.rounds.count == rounds.count {
            row.ratios[other.server] = zip(rounds, other.rounds).map { $0 / $1 }.median
        }
        for index in aims.indices {
            let figure = aims[index].times.map { row.ratios[$0] } ?? row.median
            row.aims[index].isReached = figure.map { $0 >= aims[index].atLeast }
        }
        return row
    }
}

/// Rows of one image as people read them.
struct PeerTable {
    let title: String
    let rows: [PeerRow]
    /// The servers that others are compared with, each with the title of its column.
    let peers: [(server: String, title: String)]
    /// How a measure is called.
    let name: (String) -> String

    private var widths: [Int] { [26, 20, 9, 17] + peers.map { max(9, $0.title.count + 2) } }

    /// The table as text, with an empty line before it.
    var text: String {
        let hasSizes = rows.contains { $0.overlaySize != nil }
        let hasPeaks = rows.contains { $0.peakMemory != nil }
        let header = ["", "server", "median", "least … most"] + peers.map { "× \($0.title)" }
        var lines = [
            "", title, line(header) + (hasSizes ? " overlay MiB" : "") + (hasPeaks ? "  memory MiB" : "") + "  target",
        ]
        var before: [String] = []
        for row in rows {
            let isFirst = !before.contains(row.measure)
            let isSecond = before.count { $0 == row.measure } == 1
            before.append(row.measure)
            let fields = [isFirst ? name(row.measure) : isSecond ? "  \(row.unit)" : "", row.server]
            if let problem = row.problem {
                lines.append(line(fields) + "  " + problem)
                continue
            }
            func figure(_ value: Double?) -> String { value.map { String(format: "%.0f", $0) } ?? "–" }
            let ratios = peers.map { row.ratios[$0.server].map { String(format: "%.2f", $0) } ?? "" }
            let figures = [figure(row.median), "\(figure(row.least)) … \(figure(row.most))"] + ratios
            let size = (row.overlaySize ?? row.peakMemory).map { String(format: "%.1f", Double($0) / 1_048_576) } ?? ""
            let sizes = hasSizes || hasPeaks ? String(repeating: " ", count: max(0, 12 - size.count)) + size : ""
            lines.append(line(fields + figures) + sizes + outcomes(row))
        }
        return lines.map { String($0.reversed().drop { $0 == " " }.reversed()) }.joined(separator: "\n")
    }

    private func line(_ fields: [String]) -> String { columns(fields, widths, leftAligned: 2) }

    private func outcomes(_ row: PeerRow) -> String {
        let reached = row.aims.compactMap { aim in
            aim.isReached.map { isReached in
                let peer = peers.count > 1 ? peers.first { $0.server == aim.times }.map { " \($0.title)" } ?? "" : ""
                return "\(isReached ? "✓" : "✗") \(aim.atLeast.formatted())\(peer)"
            }
        }
        return reached.isEmpty ? "" : "  " + reached.joined(separator: ", ")
    }
}
