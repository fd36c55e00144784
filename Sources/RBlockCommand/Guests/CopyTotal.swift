import BlockImage
import GuestFiles

/// How many bytes of content the files below a directory have, for progress bars.
enum CopyTotal {
    private static let depthLimit = 512

    /// A bar for the copying of `source` and all below it, which people know as `what`; nil where none is shown: then they are not
    /// counted.
    static func bar(_ what: String, _ source: any CopySource) throws -> ProgressBar? {
        guard ProgressBar.isWanted else { return nil }
        var seen: Set<[UInt64]> = []
        return ProgressBar(what, total: try total(of: source, depth: 0, &seen))
    }

    private static func total(of source: any CopySource, depth: Int, _ seen: inout Set<[UInt64]>) throws -> UInt64 {
        // What cannot be read is said when it is to be read.
        guard depth < depthLimit, let status = try? source.status() else { return 0 }
        guard status.kind == .directory else {
            return status.kind == .regular ? min(status.size, status.allocatedSize) : 0
        }
        // A damaged directory may be in itself, or in two others.
        guard seen.insert(source.identity).inserted else { return 0 }
        var total: UInt64 = 0
        do {
            func add(_ child: any CopySource) throws {
                total = total.addingSaturated(try self.total(of: child, depth: depth + 1, &seen))
            }
            try source.forEachChild(onError: { _ in }, add)
        } catch is ImageError {}
        return total
    }
}

extension UInt64 {
    /// The sum; the largest number where that is too large.
    func addingSaturated(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }
}
