import BlockImage
import FormatCore

/// What only a VMDK image has: the keys of `qemu-img info` with the same meaning, and what else the descriptor and the
/// sparse header say. What an image does not say is left out.
struct VMDKInfo: Encodable, Sendable {
    /// An extent: those of the open disk or, where there is none, the lines of the descriptor.
    private struct ExtentInfo: Encodable, Sendable {
        var filename: PathText?
        var format: String
        var virtualSize: UInt64
        var clusterSize: Int?
        var compressed: Bool?
        var access: String?
        var type: String?
        var name: PathText?
        var offset: UInt64?
        var partitionUUID: ErrorText?
        var deviceID: ErrorText?

        private enum CodingKeys: String, CodingKey {
            case filename, format, compressed, access, type, name, offset
            case virtualSize = "virtual-size"
            case clusterSize = "cluster-size"
            case partitionUUID = "partition-uuid"
            case deviceID = "device-id"
        }

        init(_ extent: VMDKExtent) {
            filename = extent.path.map { PathText($0) }
            format = extent.kindName
            virtualSize = extent.virtualSize
            clusterSize = extent.clusterSize
            compressed = extent.isCompressed ? true : nil
            extent.line.map { add($0) }
        }

        /// The extent of a line of the descriptor at `path`, whose file is not opened.
        init(_ line: DescriptorExtent, of path: String) {
            filename = line.name.map { PathText(ImageInfo.joined($0.text, besides: path)) }
            format = line.kindName
            virtualSize = line.virtualSize
            add(line)
        }

        private mutating func add(_ line: DescriptorExtent) {
            access = line.access.rawValue
            type = line.kindName
            name = line.name.map { PathText($0.text) }
            offset = line.hostOffset?.rawValue
            partitionUUID = line.partitionUUID.map { "\(quoting: $0)" }
            deviceID = line.deviceID.map { "\(quoting: $0)" }
        }
    }

    /// The geometry that a disk shows to its guest; all three, or none.
    private struct Geometry: Encodable, Sendable {
        var cylinders: UInt64
        var heads: UInt64
        var sectors: UInt64

        init?(_ description: VMDKDescription, cylinders: String, heads: String, sectors: String) {
            let numbers = [cylinders, heads, sectors].compactMap { description.value(of: $0).flatMap { UInt64($0) } }
            guard numbers.count == 3 else { return nil }
            self.cylinders = numbers[0]
            self.heads = numbers[1]
            self.sectors = numbers[2]
        }
    }

    /// What VirtualBox tells its disks apart by.
    private struct Identifiers: Encodable, Sendable {
        var disk: ErrorText?
        var image: ErrorText?
        var modification: ErrorText?
        var parent: ErrorText?
        var parentModification: ErrorText?

        private enum CodingKeys: String, CodingKey {
            case disk, image, modification, parent
            case parentModification = "parent-modification"
        }

        init?(_ description: VMDKDescription) {
            disk = description.text(of: "ddb.uuid")
            image = description.text(of: "ddb.uuid.image")
            modification = description.text(of: "ddb.uuid.modification")
            parent = description.text(of: "ddb.uuid.parent")
            parentModification = description.text(of: "ddb.uuid.parentmodification")
            if [disk, image, modification, parent, parentModification].allSatisfy({ $0 == nil }) { return nil }
        }
    }

    /// The most entries of the disk database that are told: VMware's own have some twenty.
    private static let entryLimit = 256

    private var createType: ErrorText?
    private var cid: UInt32?
    private var parentCID: UInt32?
    private var parentFileNameHint: PathText?
    private var extents: [ExtentInfo]
    private var version: ErrorText?
    private var encoding: ErrorText?
    private var changeTrackPath: PathText?
    private var headerVersion: UInt32?
    private var uncleanShutdown: Bool?
    private var hardwareVersion: ErrorText?
    private var adapterType: ErrorText?
    private var geometry: Geometry?
    private var biosGeometry: Geometry?
    private var uuids: Identifiers?
    private var longContentID: ErrorText?
    private var toolsVersion: ErrorText?
    private var thinProvisioned: Bool?
    private var diskDatabase: [String: ErrorText]?

    private enum CodingKeys: String, CodingKey {
        case cid, extents, version, encoding, geometry, uuids
        case createType = "create-type"
        case parentCID = "parent-cid"
        case parentFileNameHint = "parent-file-name-hint"
        case changeTrackPath = "change-track-path"
        case headerVersion = "header-version"
        case uncleanShutdown = "unclean-shutdown"
        case hardwareVersion = "hardware-version"
        case adapterType = "adapter-type"
        case biosGeometry = "bios-geometry"
        case longContentID = "long-content-id"
        case toolsVersion = "tools-version"
        case thinProvisioned = "thin-provisioned"
        case diskDatabase = "disk-database"
    }

    init(_ description: VMDKDescription, _ layer: VMDKLayer?) {
        createType = description.createType.map { "\(quoting: $0)" }
        cid = description.cid
        parentCID = description.parentCID
        parentFileNameHint = description.value(of: "parentFileNameHint").map { PathText($0) }
        extents =
            layer?.extents.map(ExtentInfo.init)
            ?? description.extents.prefix(Descriptor.extentLimit).map { ExtentInfo($0, of: description.path) }
        version = description.descriptor?.version.map { "\(quoting: $0)" }
        encoding = description.descriptor?.encoding.map { "\(quoting: $0)" }
        changeTrackPath = description.value(of: "changeTrackPath").map { PathText($0) }
        headerVersion = description.sparseHeader?.version
        uncleanShutdown = description.sparseHeader?.uncleanShutdown
        hardwareVersion = description.text(of: "ddb.virtualHWVersion")
        adapterType = description.text(of: "ddb.adapterType")
        geometry = Geometry(
            description, cylinders: "ddb.geometry.cylinders", heads: "ddb.geometry.heads",
            sectors: "ddb.geometry.sectors")
        biosGeometry = Geometry(
            description, cylinders: "ddb.geometry.biosCylinders", heads: "ddb.geometry.biosHeads",
            sectors: "ddb.geometry.biosSectors")
        uuids = Identifiers(description)
        longContentID = description.text(of: "ddb.longContentID")
        toolsVersion = description.text(of: "ddb.toolsVersion")
        thinProvisioned = description.value(of: "ddb.thinProvisioned").map { $0 == "1" }
        let entries = description.entries.lazy.filter { $0.key.lowercased().hasPrefix("ddb.") }
        let facts: [(String, ErrorText)] = entries.prefix(Self.entryLimit).map { ($0.key, "\(quoting: $0.value)") }
        let database = Dictionary(facts) { first, _ in first }
        diskDatabase = database.isEmpty ? nil : database
    }
}

extension VMDKDescription {
    /// The value of the first entry of the descriptor whose key is `key`, in any case.
    fileprivate func value(of key: String) -> String? { descriptor?.value(of: key) }

    /// The same for people: words of a stranger.
    fileprivate func text(of key: String) -> ErrorText? { value(of: key).map { "\(quoting: $0)" } }
}
