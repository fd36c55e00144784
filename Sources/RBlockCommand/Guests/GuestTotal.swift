import BlockImage
import Catalog
import GuestFiles

/// How many bytes of content the files below a directory of a guest have, for progress bars.
enum GuestTotal {
    /// A bar for work on `node` and all below it that people know as `what`; nil where none is shown: then they are not counted.
    static func bar(_ what: String, _ node: GuestTree.Node, in tree: GuestTree) throws -> ProgressBar? {
        guard ProgressBar.isWanted else { return nil }
        var total: UInt64 = 0
        // What cannot be read is said when it is to be read.
        try GuestWalk(tree: tree, onError: { _ in }).run(node) { _, status in
            let size = status.kind == .regular ? min(status.size, status.allocatedSize) : 0
            total = total.addingReportingOverflow(size).overflow ? .max : total + size
            return true
        }
        return ProgressBar(what, total: total)
    }
}
