import Foundation
import HostTools

/// How long the tests run that could run for ever: as CI has the time for, or, with RBLOCK_SOAK, for hours (`make soak`).
///
/// RBLOCK_SOAK is the part of the long run that is to be done: 1, 0.1 or 20. With `:SEED` behind it, the random requests of
/// that seed come again.
package enum Soak {
    private static let words = (ProcessInfo.processInfo.environment["RBLOCK_SOAK"] ?? "").split(separator: ":")

    /// The part of the long run that is to be done; nil for the short one.
    package static let part: Double? = words.first.map { word in
        guard let part = Double(word), part > 0 else { fatalError("SOAK is a number, such as 0.1, not \(word)") }
        return part
    }

    /// The seed of all that is random: a new one for every long run.
    package static let seed: UInt64 =
        part == nil ? 1 : words.dropFirst().first.flatMap { UInt64($0) } ?? UInt64.random(in: 1...999_999)

    /// How many times: `short` in CI, its part of `long` otherwise.
    package static func count(_ short: Int, long: Int) -> Int {
        part.map { max(1, Int($0 * Double(long))) } ?? short
    }

    /// For how long something is repeated: once in CI, for its part of so many minutes otherwise.
    package static func seconds(minutes: Double) -> Double { (part ?? 0) * minutes * 60 }

    /// Says how far a long run of `what` is. Does nothing in CI.
    package static func note(_ what: String) {
        guard part != nil else { return }
        let time = Date.now.formatted(date: .omitted, time: .standard)
        FileHandle.standardError.write(Data("soak: \(time) \(what), seed \(seed)\n".utf8))
    }

    /// Does `work`; where it fails in a long run, keeps a copy of what `folder` has by then, and says where.
    package static func keeping<Result>(_ folder: TemporaryFolder, _ work: () throws -> Result) throws -> Result {
        do {
            return try work()
        } catch  where part != nil {
            let copy = "\(folder.path)-kept"
            _ = try? Tool.run("cp", ["-a", "--sparse=always", folder.path, copy])
            throw ToolFailure(description: "\(error), seed \(seed), kept in \(copy)")
        }
    }
}
