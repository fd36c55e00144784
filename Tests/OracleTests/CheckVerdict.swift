import BlockImage
import Catalog
import Foundation
import ImageFormats
import ImageTools
import Reports
import SystemPackage
import TestImages

/// What a check of an image came to: the counts of both programs under qemu-img's keys, and the exit status.
struct CheckVerdict: Equatable {
    /// The keys of `qemu-img check --output=json` that are counts.
    static let keys = [
        "check-errors", "image-end-offset", "corruptions", "leaks", "total-clusters", "allocated-clusters",
        "fragmented-clusters", "compressed-clusters",
    ]

    var status: Int32
    var counts: [String: UInt64]
    var format: String?

    /// What qemu-img says.
    static func theirs(_ path: String, _ format: ImageFormat, options: [String] = []) throws -> CheckVerdict {
        let result = try QemuImg.check(path, format: format.rawValue, options: options)
        return CheckVerdict(result.status, result.object)
    }

    /// What this program says, and what it found.
    static func ours(_ path: String, _ format: ImageFormat) throws -> (CheckVerdict, [CheckFinding]) {
        do throws(ImageError) {
            guard let report = try NamedImage(FilePath(path), format: format).checkReport() else {
                return (CheckVerdict(63, [:]), [])
            }
            let data = try? JSONEncoder().encode(report)
            let object = data.flatMap { try? JSONSerialization.jsonObject(with: $0) as? [String: Any] }
            return (CheckVerdict(report.verdict.rawValue, object ?? [:]), report.result.findings)
        } catch {
            return (CheckVerdict(1, [:]), [CheckFinding(.entry, .error, path: error.path, error.text)])
        }
    }

    /// Whether a snapshot table or a bitmap directory does not lie in the file as a whole: what it names is not known here,
    /// and counted as leaks, but qemu reads zeros behind the end of the file, or checks nothing.
    static func isLostTable(_ finding: CheckFinding) -> Bool {
        finding.message.contains("is counted as leaks")
    }

    /// Where the two differ, in sentences. `mayLeak`: whether grains may be leaked, which only this program counts: QEMU
    /// leaves the grain in the file that it replaces by zeros.
    static func differences(
        _ path: String, _ format: ImageFormat, options: [String] = [], mayLeak: Bool = false
    ) throws -> [String] {
        let theirs = try theirs(path, format, options: options)
        var (ours, findings) = try ours(path, format)
        if mayLeak, ours.counts.removeValue(forKey: "leaks") != nil, ours.status == 3 { ours.status = 0 }
        return differences(theirs, ours, findings)
    }

    static func differences(_ theirs: CheckVerdict, _ ours: CheckVerdict, _ findings: [CheckFinding]) -> [String] {
        guard theirs != ours else { return [] }
        let messages = findings.prefix(5).map(\.message)
        return ["qemu-img: \(theirs.text), we: \(ours.text), since: \(messages)"]
    }

    /// What a program that ended with `status` printed as JSON.
    init(_ status: Int32, _ object: [String: Any]) {
        self.status = status
        counts = [:]
        for key in Self.keys { counts[key] = (object[key] as? NSNumber)?.uint64Value }
        format = object["format"] as? String
    }

    private var text: String {
        "\(status) \(counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))"
    }
}
