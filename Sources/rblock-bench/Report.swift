import Foundation

/// What one server did in one measure of one image: a line of JSON, a row of the table.
struct Row: Encodable {
    /// A target, and whether it was reached.
    struct Outcome: Encodable {
        var times: String
        var atLeast: Double
        var reached: Bool
    }

    var image: String
    var measure: String
    var server: String
    var unit: String
    /// The size of the disk in bytes.
    var size: Int
    /// One figure a round.
    var rounds: [Double]
    var median: Double?
    var least: Double?
    var most: Double?
    /// By a server's name: the median of the rounds' ratios to its figure in the same round.
    var ratios: [String: Double]
    /// Those of rblockfs, and of what the kernel reads by itself.
    var targets: [Outcome]
    /// Of what was read, in hexadecimal.
    var checkSum: String?
    /// Why there are no figures, or must be no trust in them.
    var problem: String?

    /// The row of `server` among `cells`, the servers of one measure.
    init(
        _ image: ImageKind, _ measure: Measure, _ server: ServerKind, _ cells: [ServerKind: Comparison.Cell], size: Int
    ) {
        let cell = cells[server] ?? Comparison.Cell(problem: "not measured")
        self.image = image.rawValue
        self.measure = measure.rawValue
        self.server = server.rawValue
        self.size = size
        unit = measure.unit
        rounds = cell.figures
        median = rounds.median
        (least, most) = (rounds.min(), rounds.max())
        checkSum = cell.checkSum.map { String($0, radix: 16) }
        problem = cell.problem
        var ratios: [ServerKind: Double] = [:]
        for (other, figures) in cells where figures.figures.count == rounds.count && figures.problem == nil {
            // Around the page cache, the bare file is a disk.
            if other == .bareFile && measure.isDirect { continue }
            ratios[other] = zip(rounds, figures.figures).map { $0 / $1 }.median
        }
        self.ratios = Dictionary(uniqueKeysWithValues: ratios.map { ($0.rawValue, $1) })
        let targets =
            switch server {
            case .rblockfs: image.targets(for: measure)
            case .passthrough: image.passthroughTargets(for: measure)
            case .map: image.mapTargets(for: measure)
            case .overlay: image.overlayTargets(for: measure)
            default: [Target]()
            }
        self.targets = targets.compactMap { target in
            ratios[target.times].map {
                Outcome(times: target.times.rawValue, atLeast: target.atLeast, reached: $0 >= target.atLeast)
            }
        }
    }

    /// Why the run has failed, where it has.
    var failure: String? {
        guard let problem, let server = ServerKind(rawValue: server) else { return nil }
        let isWrong = problem.hasPrefix(Comparison.wrongContent)
        return server.mustWork || (isWrong && server.mustBeRight)
            ? "\(image): \(measure): \(server.title): \(problem)" : nil
    }

}

extension [Double] {
    /// The value in the middle; nil where there is none.
    var median: Double? {
        guard !isEmpty else { return nil }
        let sorted = sorted()
        return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2
    }
}

extension Encodable {
    /// As a line of JSON.
    func line() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
}

/// Rows of one image as people read them.
struct Table {
    var title: String
    var rows: [Row]

    private static let widths = [26, 20, 9, 17, 7, 7, 7]

    /// The table as text, with an empty line before it.
    var text: String {
        let header = ["", "server", "median", "least … most", "× qsd", "× loop", "× bare"]
        var lines = ["", title, Self.line(header) + "  targets"]
        var measure = ""
        for row in rows {
            let kind = Measure(rawValue: row.measure)
            let isFirst = row.measure != measure
            measure = row.measure
            let server = ServerKind(rawValue: row.server)?.title ?? row.server
            let fields = [isFirst ? "\(kind?.title ?? measure)" : isSecond(row) ? "  \(row.unit)" : "", server]
            if let problem = row.problem {
                lines.append(Self.line(fields) + "  " + problem)
                continue
            }
            let ratios = [ServerKind.storageDaemon, .floor, .bareFile].map { Self.ratio(row, to: $0) }
            let spread = "\(Self.figure(row.least)) … \(Self.figure(row.most))"
            lines.append(Self.line(fields + [Self.figure(row.median), spread] + ratios) + Self.outcomes(row))
        }
        return lines.map { String($0.reversed().drop { $0 == " " }.reversed()) }.joined(separator: "\n")
    }

    /// Whether the row is the second of its measure, where there is space for the unit.
    private func isSecond(_ row: Row) -> Bool {
        let servers = rows.filter { $0.measure == row.measure }.map(\.server)
        return servers.count > 1 && servers[1] == row.server
    }

    private static func line(_ fields: [String]) -> String { columns(fields, widths, leftAligned: 2) }

    private static func figure(_ value: Double?) -> String { value.map { String(format: "%.0f", $0) } ?? "–" }

    private static func ratio(_ row: Row, to server: ServerKind) -> String {
        guard row.server != server.rawValue, let ratio = row.ratios[server.rawValue] else { return "" }
        return String(format: "%.2f", ratio)
    }

    private static func outcomes(_ row: Row) -> String {
        guard !row.targets.isEmpty else { return "" }
        return "  "
            + row.targets.map { target in
                let name = ["qemu-storage-daemon": "qsd", "libfuse-loop": "loop", "bare-file": "bare"][target.times]
                return "\(target.reached ? "✓" : "✗") \(target.atLeast.formatted()) \(name ?? target.times)"
            }.joined(separator: ", ")
    }
}

/// `fields` beside each other, each at least as wide as `widths` says; all but the first `leftAligned` stand at the
/// right of their columns.
func columns(_ fields: [String], _ widths: [Int], leftAligned: Int) -> String {
    zip(fields, widths).enumerated().map { index, field in
        let padding = String(repeating: " ", count: max(0, field.1 - field.0.count))
        return index < leftAligned ? field.0 + padding : padding + field.0
    }.joined(separator: " ")
}
