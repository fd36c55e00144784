import BlockImage
import FormatCore

/// What is known of an appliance: the machines and disks of its OVF descriptor, and the files of its archive with their
/// digests from the manifest.
struct ApplianceInfo: Encodable, Sendable {
    /// A machine of the descriptor.
    struct Machine: Encodable {
        var id: String
        var name: String?
        var disks: [String]
    }

    /// A disk, as the descriptor and the archive have it.
    struct Disk: Encodable {
        var folder: String?
        var diskID: String?
        var capacity: UInt64?
        var format: String?
        var populatedSize: UInt64?
        var parentRef: String?
        var href: PathText?
        var size: UInt64?
        var compression: String?
        var chunkSize: UInt64?
        var members: [PathText]?
        var error: ImageError?

        private enum CodingKeys: String, CodingKey {
            case folder, capacity, format, href, size, compression, members, error
            case diskID = "disk-id"
            case populatedSize = "populated-size"
            case parentRef = "parent-ref"
            case chunkSize = "chunk-size"
        }

        init(_ disk: OVFEnvelope.Disk?) {
            diskID = disk?.diskId
            capacity = disk?.capacity
            format = disk?.format
            populatedSize = disk?.populatedSize
            parentRef = disk?.parentRef
        }

        init(_ disk: ApplianceDisk) {
            self.init(disk.disk)
            folder = nameText(disk.folderName)
            href = disk.reference.map { PathText($0.href) }
            size = disk.reference?.size
            compression = disk.reference?.compression
            chunkSize = disk.reference?.chunkSize
            members = disk.memberNames.map { PathText(nameText($0)) }
            if case .failure(let error) = disk.file { self.error = error }
        }
    }

    /// A file of the archive.
    struct File: Encodable {
        var name: String
        /// Its size once it is unpacked.
        var size: UInt64
        var offset: UInt64
        /// Whether it is stored without its holes.
        var sparse: Bool?
        /// The digests of the manifest by their algorithms; `rblock check` compares them.
        var digest: [String: String]?

        init(_ member: ApplianceMember) {
            name = nameText(member.name)
            size = member.size
            offset = member.offset.rawValue
            sparse = member.entry.kind == .sparse ? true : nil
            digest = member.digest.map { [$0.algorithm.lowercased(): $0.text] }
        }
    }

    var machines: [Machine]
    var disks: [Disk]
    var files: [File]
    var signed: Bool

    /// What `appliance` says of itself.
    init(_ appliance: Appliance) {
        machines = (appliance.envelope?.systems ?? []).map { Machine(id: $0.id, name: $0.name, disks: $0.diskIds) }
        disks = appliance.disks.map { Disk($0) } + appliance.emptyDisks.map { Disk($0) }
        files = appliance.members.filter { $0.entry.isFile }.map(File.init)
        signed = appliance.hasCertificate
    }
}
