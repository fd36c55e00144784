import Foundation
import HostTools

/// One conversion, done by several programs.
struct ConversionComparison {
    let conversion: Conversion
    /// What is converted.
    let source: String
    /// What it must be.
    let disk: GuestDisk
    let folder: TemporaryFolder
    let rblock: String
    let progress: Progress

    /// Has the programs convert in alternation, and answers a row for each.
    func run(_ converters: [Converter], rounds: Int) throws -> [ConversionRow] {
        var rows = converters.map { ConversionRow(conversion, $0, diskSize: disk.size) }
        for round in 0..<rounds {
            // The order is turned round every time, so that drift of the machine's speed falls on all alike.
            for index in round.isMultiple(of: 2) ? Array(rows.indices) : rows.indices.reversed()
            where rows[index].problem == nil {
                Ending.holdIfRequested()
                let step = "\(conversion.rawValue): round \(round + 1) of \(rounds): \(converters[index].title)"
                progress.show(step)
                do {
                    try measure(converters[index], into: &rows[index])
                } catch {
                    rows[index].problem = "\(error)"
                }
            }
        }
        for index in rows.indices { rows[index].compare(with: rows) }
        return rows
    }

    /// Measures one conversion; of the first of each program the result is checked.
    private func measure(_ converter: Converter, into row: inout ConversionRow) throws {
        let target = folder.file("target.\(conversion.target)")
        defer { unlink(target) }
        // What is still on its way to the disk would be paid for by whoever comes next.
        try Shell.check("cat \"$1\" >/dev/null; sync -f \"$1\"", source, timeout: 1800)
        let command = converter.command(conversion, source, target, rblock: rblock)
        let start = ContinuousClock.now
        let result = try Tool.run(command[0], Array(command.dropFirst()), timeout: 3600)
        let time = start.duration(to: .now)
        guard result.status == 0 else {
            throw ToolFailure(description: "ended with \(result.status): \(result.errors)")
        }
        if row.rounds.isEmpty {
            try Shell.check("sync -f \"$1\"", target, timeout: 1800)
            row.writtenSize = try Int(Status(target).blocks) * 512
            let judge = try Tool.run(
                "qemu-img", ["compare", "-q", "-f", "raw", "-F", conversion.target, disk.path, target], timeout: 1800)
            guard judge.status == 0 else {
                throw ToolFailure(description: "wrote something else than the disk: \(judge.errors)")
            }
        }
        row.rounds.append(time.seconds)
    }
}
