import Foundation
import HostTools

/// Reading the files of one image, program beside program.
struct GuestComparison {
    let image: DiskImage
    /// Whether `rblock` reads its file system without a kernel.
    let isNative: Bool
    let rblock: String
    /// The environment of guestfish; nil where that does not start.
    let guestfish: String?
    let progress: Progress

    /// Measures the programs in alternation, and answers a row for each of them and each measure.
    func run(_ measures: [GuestMeasure], rounds: Int) throws -> [PeerRow] {
        let size = Int(try Status(image.path).size)
        let file = measures.contains(.file) ? try someFile() : ""
        return measures.flatMap { measure in
            let readers = GuestReaderKind.allCases.filter {
                $0.reads(image.kind) && ($0 != .guestfish || (guestfish != nil && measure != .many))
            }.map { GuestReader(kind: $0, rblock: rblock, environment: guestfish ?? "") }
            var rows = readers.map { reader in
                var row = PeerRow(
                    image: image.kind.rawValue, measure: measure.rawValue, server: reader.kind.rawValue,
                    unit: measure.unit, size: size)
                row.aims = measure.aims(of: reader.kind, isNative: isNative)
                return row
            }
            var counts: [Int: Int] = [:]
            for round in 0..<rounds {
                // The order is turned round every time, so that drift of the machine's speed falls on all alike.
                let order = round.isMultiple(of: 2) ? Array(rows.indices) : rows.indices.reversed()
                for index in order where rows[index].problem == nil {
                    Ending.holdIfRequested()
                    progress.show("\(measure.title): round \(round + 1) of \(rounds): \(readers[index].kind.rawValue)")
                    do {
                        try image.warm()
                        let run = try DrainedCommand(readers[index].command(measure, image, file: file))
                        rows[index].rounds.append(measure.figure(run.count, run.seconds))
                        if readers[index].kind == .rblock, run.peak > 0 {
                            rows[index].peakMemory = max(rows[index].peakMemory ?? 0, run.peak)
                        }
                        counts[index] = run.count
                    } catch {
                        rows[index].problem = "\(error)"
                    }
                }
            }
            if measure == .file, Set(counts.values).count > 1 {
                for index in rows.indices { rows[index].problem = "the programs do not read the same file: \(counts)" }
            }
            return rows.map { $0.compared(with: rows) }
        }
    }

    /// A file of some tens of kilobytes, without its first '/'.
    private func someFile() throws -> String {
        let found = try Tool.run(
            rblock, ["find", "--type", "file", "--larger", "50K", "--smaller", "100K", "\(image.path):/"])
        let name = found.text.split(separator: "\n").first {
            $0.allSatisfy { $0.isLetter || $0.isNumber || "/-_.".contains($0) }
        }
        guard let name else { throw ToolFailure(description: "\(image.path): has no file of 50 to 100 KiB") }
        return String(name.dropFirst())
    }
}
