import BlockImage
import Catalog
import HostStorage
import ImageTools

/// What a check found: what `qemu-img check --output=json` prints, under the same keys with the same meaning, and each
/// finding beside. Counts that are 0 are left out, as there.
package struct CheckReport: Encodable, Sendable {
    /// What a check comes to, with the exit status that `qemu-img check` has for it.
    package enum Verdict: Int32, Sendable {
        /// Nothing is wrong.
        case clean = 0
        /// Not everything could be checked.
        case incomplete = 1
        /// The image is damaged.
        case corrupt = 2
        /// Host space is wasted, and nothing else is wrong.
        case leaks = 3
    }

    /// The file, as it was named.
    package var filename: String
    /// "raw", "qcow2" or "vmdk".
    package var format: String
    /// What was counted and found.
    package var result: CheckResult

    /// A report of the check of `filename`.
    package init(filename: String, format: String, _ result: CheckResult) {
        self.filename = filename
        self.format = format
        self.result = result
    }

    /// What it comes to: what could not be checked matters more than corruptions, and these more than leaks.
    package var verdict: Verdict {
        if result.checkErrors > 0 { return .incomplete }
        if result.corruptions > 0 { return .corrupt }
        return result.leaks > 0 ? .leaks : .clean
    }

    private enum CodingKeys: String, CodingKey {
        case filename, format, corruptions, leaks, findings
        case filenameBytes = "filename-bytes"
        case checkErrors = "check-errors"
        case imageEndOffset = "image-end-offset"
        case totalClusters = "total-clusters"
        case allocatedClusters = "allocated-clusters"
        case fragmentedClusters = "fragmented-clusters"
        case compressedClusters = "compressed-clusters"
        case findingCount = "findings-total"
    }

    /// Leaves out the counts that are 0, as qemu-img does.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        func encodeUnlessZero(_ count: UInt64?, _ key: CodingKeys) throws {
            if let count, count != 0 { try container.encode(count, forKey: key) }
        }
        try container.encode(filename, forKey: .filename)
        try container.encodeIfPresent(bytesInJSON(ofName: filename), forKey: .filenameBytes)
        try container.encode(format, forKey: .format)
        try container.encode(result.checkErrors, forKey: .checkErrors)
        try encodeUnlessZero(result.imageEndOffset, .imageEndOffset)
        try encodeUnlessZero(result.corruptions, .corruptions)
        try encodeUnlessZero(result.leaks, .leaks)
        try encodeUnlessZero(result.totalClusters, .totalClusters)
        try encodeUnlessZero(result.allocatedClusters, .allocatedClusters)
        try encodeUnlessZero(result.fragmentedClusters, .fragmentedClusters)
        try encodeUnlessZero(result.compressedClusters, .compressedClusters)
        try container.encode(result.findings.map(Finding.init), forKey: .findings)
        try container.encode(result.findingCount, forKey: .findingCount)
    }

    private struct Finding: Encodable {
        var kind: CheckFinding.Kind
        var severity: CheckFinding.Severity
        var file: PathText
        var hostOffset: UInt64?
        var guestOffset: UInt64?
        var times: UInt64
        var message: ErrorText
        var more: UInt64?
        var lastOffset: UInt64?

        private enum CodingKeys: String, CodingKey {
            case kind, severity, file, times, message, more
            case lastOffset = "last-host-offset"
            case hostOffset = "host-offset"
            case guestOffset = "guest-offset"
        }

        init(_ finding: CheckFinding) {
            kind = finding.kind
            severity = finding.severity
            file = PathText(finding.path)
            hostOffset = finding.hostOffset?.rawValue
            guestOffset = finding.guestOffset?.rawValue
            times = finding.times
            message = finding.message
            more = finding.more == 0 ? nil : finding.more
            lastOffset = finding.more == 0 ? nil : finding.lastOffset?.rawValue
        }
    }
}

extension NamedImage {
    /// Checks it as `check` does, and reports under the name that it was given; nil where there is nothing to check.
    package func checkReport(
        readsData: Bool = false, force: Bool = false, progress: (Double) -> Void = { _ in }
    ) throws(ImageError) -> CheckReport? {
        try check(readsData: readsData, force: force, progress: progress).map {
            CheckReport(filename: path.text, format: $0.format, $0.result)
        }
    }
}
