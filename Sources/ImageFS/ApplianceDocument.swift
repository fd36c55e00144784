import BlockImage
import FoundationEssentials
import HostStorage
import ImageFormats
import OVA

/// `stats.json` of an appliance: the machines and disks of its OVF descriptor, and the files of its archive with their
/// digests from the manifest.
struct ApplianceDocument: Encodable {
    /// What only the mount knows.
    struct Mount: Encodable {
        var version: String
        var notes: [ErrorText]?
    }

    private enum CodingKeys: String, CodingKey {
        case filename, format, error, ova, rblockfs
        case actualSize = "actual-size"
    }

    private var filename: String
    private var format = "ova"
    private var actualSize: UInt64?
    private var error: ImageError?
    private var ova: ApplianceInfo?
    private var rblockfs: Mount

    /// The document of an appliance as it is now.
    init(_ node: ApplianceNode) {
        filename = node.location.text
        rblockfs = Mount(version: rblockVersion)
        switch node.opened() {
        case .failure(let error): self.error = error
        case .success(let appliance):
            actualSize = appliance.file.allocatedSize
            ova = ApplianceInfo(appliance)
            error = appliance.fault
            rblockfs.notes = appliance.notes.isEmpty ? nil : appliance.notes
        }
    }

    /// The text; it stays the same for as long as the archive does.
    func text() throws -> [UInt8] {
        try StatsDocument.json(self) + [UInt8(ascii: "\n")]
    }
}
