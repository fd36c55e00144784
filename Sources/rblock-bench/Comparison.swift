import Foundation
import HostTools

/// The measures of one image, server beside server.
struct Comparison {
    let kinds: [ServerKind]
    let measures: [Measure]
    let rounds: Int
    let progress: Progress

    /// What one server did in one measure.
    struct Cell {
        /// A figure for each round.
        var figures: [Double] = []
        var checkSum: UInt64?
        /// Why it was not measured, or not to the end.
        var problem: String?
    }

    /// Check sums by what was read.
    typealias CheckSums = [Measure.Content: UInt64]

    /// What must be read, from the disk itself.
    static func checkSums(of disk: GuestDisk, _ measures: [Measure], _ workload: Workload) throws -> CheckSums {
        let bare = ServedFile(bare: disk.path)
        var sums: CheckSums = [.disk: try FlatFile(disk.path).sum()]
        for measure in measures where sums[measure.content] == nil {
            if measure.content == .files && !Tool.isRoot { continue }
            sums[measure.content] = try measure.run(bare, workload).checkSum
        }
        return sums
    }

    /// Measures the servers in alternation, and answers a cell for each of them and each measure.
    func run(_ image: DiskImage, _ disk: GuestDisk, _ workload: Workload, _ sums: CheckSums, start: Start)
        throws -> [Measure: [ServerKind: Cell]]
    {
        var cells: [Measure: [ServerKind: Cell]] = [:]
        var servers: [(kind: ServerKind, file: ServedFile)] = []
        defer { for server in servers { server.file.end() } }
        for kind in kinds {
            Ending.holdIfRequested()
            do {
                servers.append((kind, try start(kind)))
            } catch {
                for measure in measures { cells[measure, default: [:]][kind] = Cell(problem: "\(error)") }
            }
        }
        for round in 0..<rounds {
            // The order is turned round every time, so that drift of the machine's speed falls on all alike.
            for server in round.isMultiple(of: 2) ? servers : servers.reversed() {
                try image.warm()
                let step = "\(image.kind.rawValue): round \(round + 1) of \(rounds): \(server.kind.title)"
                let problem = warmUp(server.file, sums, step)
                for measure in measures {
                    Ending.holdIfRequested()
                    progress.show("\(step): \(measure.title)")
                    var cell = cells[measure]?[server.kind] ?? Cell()
                    cell.problem = cell.problem ?? problem
                    if cell.problem == nil { cell.add(measure, server.file, workload, sums) }
                    cells[measure, default: [:]][server.kind] = cell
                }
            }
        }
        return cells
    }

    /// How a server is started.
    typealias Start = (ServerKind) throws -> ServedFile

    /// Reads everything once, and answers what is wrong with it.
    ///
    /// Nothing is measured here: the memory that a page cache takes after an idle moment may have been given back to a
    /// hypervisor meanwhile, which makes a first reading several times slower than the next.
    private func warmUp(_ file: ServedFile, _ sums: CheckSums, _ step: String) -> String? {
        guard measures.contains(where: \.isStreaming) else { return nil }
        progress.show("\(step): warming up")
        do {
            try file.dropCache()
            return Self.fault(of: try FlatFile(file.path).sum(), in: .disk, sums)
        } catch {
            return "\(error)"
        }
    }

    /// What to say of a check sum that is not as it must be.
    fileprivate static func fault(of sum: UInt64, in content: Measure.Content, _ sums: CheckSums) -> String? {
        guard let expected = sums[content], sum != expected else { return nil }
        return "\(wrongContent): \(content.rawValue) has the check sum \(String(sum, radix: 16)), not "
            + String(expected, radix: 16)
    }

    /// What problems of this kind begin with.
    static let wrongContent = "wrong content"
}

extension Comparison.Cell {
    /// One more round.
    fileprivate mutating func add(
        _ measure: Measure, _ file: ServedFile, _ workload: Workload, _ sums: Comparison.CheckSums
    ) {
        do {
            let sample = try measure.run(file, workload)
            checkSum = sample.checkSum
            problem = Comparison.fault(of: sample.checkSum, in: measure.content, sums)
            figures.append(sample.figure)
        } catch {
            problem = "\(error)"
        }
    }
}

/// What is being done, on standard error while that is a terminal.
struct Progress {
    private let isTerminal = isatty(2) != 0

    /// Shows `text` in the place of what is shown; nothing where it is empty.
    func show(_ text: String) {
        guard isTerminal else { return }
        FileHandle.standardError.write(Data("\r\u{1b}[K\(text)".utf8))
    }
}
