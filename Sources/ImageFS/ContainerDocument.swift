import BlockImage
import FormatCore
import HostStorage
import ImageFormats
import Reports

/// `stats.json` of a container of disks: its report (`ImageReport`), whose notes are in the object `rblock`, with what only the
/// mount knows.
struct ContainerDocument: Encodable {
    /// What only the mount knows.
    private struct Mount: Encodable {
        var version = rblockVersion
        var notes: [ErrorText]?
    }

    private enum CodingKeys: String, CodingKey {
        case rblock
        /// What older versions call `rblock`.
        case rblockfs
    }

    private var report: ImageReport
    private var mount = Mount()

    /// The document of a container as it is now.
    init(_ node: ContainerNode) {
        switch node.opened() {
        case .failure(let error):
            report = ImageReport(filename: node.location.text, error: error)
            report.format = node.format.name
        case .success(let container):
            report = ImageReport(filename: node.location.text, error: container.fault)
            var found = ContainerReport(container, of: node.format)
            mount.notes = found.notes.isEmpty ? nil : found.notes
            found.notes = []
            report.container = found
        }
    }

    func encode(to encoder: any Encoder) throws {
        try report.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(mount, forKey: .rblock)
        try container.encode(mount, forKey: .rblockfs)
    }

    /// The text; it stays the same for as long as the archive does.
    func text() throws -> [UInt8] {
        Array((try jsonText(self) + "\n").utf8)
    }
}
