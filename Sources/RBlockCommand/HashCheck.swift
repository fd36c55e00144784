import ArgumentParser
import BlockImage
import Encryption
import Reports

extension Hash {
    /// What is printed of one line of a list.
    private enum Document: Encodable {
        case compared(HashCheckReport)
        case failure(FailureReport, of: HashList.Line)
        case malformed(FailureReport)

        private enum CodingKeys: String, CodingKey {
            case algorithm, expected, matches
        }

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .compared(let report): try report.encode(to: encoder)
            case .malformed(let report): try report.encode(to: encoder)
            case .failure(let report, let line):
                try report.encode(to: encoder)
                var container = encoder.container(keyedBy: CodingKeys.self)
                try container.encode(line.algorithm.rawValue, forKey: .algorithm)
                try container.encode(line.digits, forKey: .expected)
                try container.encode(false, forKey: .matches)
            }
        }
    }

    /// Compares the disks that the list at `path` names with its hashes, and ends with 1 where one is another or cannot be
    /// read, or a line is malformed, and with 2 where one could be read only in parts.
    func compare(with path: String) throws {
        var documents: [Document] = []
        var hasFailed = false
        var hasLost = false
        try Failure.reported(as: output) {
            let printer = StandardOutput()
            let list = try HashList(at: path, algorithm: algorithm.first)
            for line in list.lines {
                let progress = HashProgress([line.name])
                var words = "FAILED"
                do {
                    let report = HashCheckReport(
                        try hash(line.name, by: [line.algorithm]) { progress.update(0, $0, of: $1) },
                        expected: line.digits)
                    progress.hide()
                    hasLost = say(report.lost, of: line.name) || hasLost
                    if report.matches { words = "OK" } else { hasFailed = true }
                    documents.append(.compared(report))
                } catch let error as ImageError {
                    progress.hide()
                    words = "FAILED open or read"
                    hasFailed = true
                    Failure.say(error.description)
                    documents.append(.failure(FailureReport(filename: line.name, .image(error)), of: line))
                }
                guard output == .human else { continue }
                try printer.write("\(printable(line.name)): \(words)\n")
                try printer.flush()
            }
            // Behind all others, where they are seen.
            for fault in list.faults {
                hasFailed = true
                Failure.say(fault.description)
                documents.append(.malformed(FailureReport(filename: path, .image(fault))))
            }
            if output == .json { try writeJSON(documents) }
        }
        if hasFailed { throw ExitCode(1) }
        if hasLost { throw ExitCode(2) }
    }
}
