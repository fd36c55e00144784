import BlockImage
import QCOW2

/// What is known of an image: a superset of what `qemu-img info --output=json` prints, under the same keys with the
/// same meaning. What does not apply to an image, or could not be found out, is left out.
public struct ImageInfo: Encodable, Sendable {
    /// The file's canonical path.
    public var filename: PathText
    /// "raw", "qcow2" or "vmdk".
    public var format: String
    /// The size of the disk in bytes.
    public var virtualSize: UInt64?
    /// The bytes that the image takes on the host, without its backing file, and, as QEMU counts, without the external
    /// data file of a QCOW2 image.
    public var actualSize: UInt64
    /// The bytes of a cluster, or of a grain.
    public var clusterSize: UInt64?
    /// True where the disk is encrypted; left out otherwise.
    public var encrypted: Bool?
    /// Whether the image was not closed properly.
    public var dirtyFlag: Bool?
    /// The backing file's name as it stands in the image.
    public var backingFilename: PathText?
    /// The same, joined to the image's folder.
    public var fullBackingFilename: PathText?
    /// The backing file's format, where the image says it.
    public var backingFilenameFormat: String?
    /// The internal snapshots; left out where there are none.
    public var snapshots: [SnapshotInfo]?
    /// What only this format has.
    public var formatSpecific: FormatSpecific?

    private enum CodingKeys: String, CodingKey {
        case filename, format, encrypted, snapshots
        case virtualSize = "virtual-size"
        case actualSize = "actual-size"
        case clusterSize = "cluster-size"
        case dirtyFlag = "dirty-flag"
        case backingFilename = "backing-filename"
        case fullBackingFilename = "full-backing-filename"
        case backingFilenameFormat = "backing-filename-format"
        case formatSpecific = "format-specific"
    }

    /// What `layer`, one file of a chain, says of itself; `listsAll`: with its snapshots and dirty bitmaps.
    public init(_ layer: LayerDescription, listsAll: Bool = true) {
        filename = PathText(layer.file.path)
        format = layer.format.rawValue
        actualSize = layer.file.allocatedSize
        switch layer.facts {
        case .raw:
            // A file that was to be of another format, and could not be described, has no size to speak of.
            guard layer.format == .raw else { return }
            virtualSize = layer.file.size
            dirtyFlag = false
        case .qcow2(let description, _):
            add(description, of: layer.file, listsAll: listsAll)
        case .vmdk(let description, let vmdk):
            virtualSize = vmdk?.virtualSize ?? description.virtualSize
            clusterSize = vmdk?.clusterSize.map(UInt64.init)
            actualSize = layer.files.reduce(0) { sum, file in
                let (more, isTooLarge) = sum.addingReportingOverflow(file.allocatedSize)
                return isTooLarge ? .max : more
            }
            dirtyFlag = false
            if let parent = description.parent {
                backingFilename = PathText(parent.text)
                fullBackingFilename = PathText(Self.joined(parent.text, besides: layer.file.path))
                backingFilenameFormat = ImageFormat.ofParent(called: parent)?.rawValue
            }
            formatSpecific = .vmdk(VMDKInfo(description, vmdk))
        }
    }

    private mutating func add(_ description: QCOW2Description, of file: any HostFile, listsAll: Bool) {
        let header = description.header
        virtualSize = header.virtualSize
        clusterSize = header.clusterSize
        encrypted = header.cryptMethod == 0 ? nil : true
        dirtyFlag = header.incompatibleFeatures.contains(.dirty)
        if let name = description.backingFile.map({ nameText($0) }) {
            backingFilename = PathText(name)
            fullBackingFilename = PathText(Self.joined(name, besides: file.path))
            backingFilenameFormat = description.extensions.backingFormat
        }
        if listsAll, !description.snapshots.isEmpty { snapshots = description.snapshots.map(SnapshotInfo.init) }
        formatSpecific = .qcow2(QCOW2Info(description, in: file, listsBitmaps: listsAll))
    }

    /// The file `name` in the folder of the file at `path`. An absolute name stays as it is, and so does one with a
    /// colon before its first slash, which QEMU reads as `protocol:rest`.
    static func joined(_ name: String, besides path: String) -> String {
        let mark = name.first { $0 == ":" || $0 == "/" }
        if name.hasPrefix("/") || mark == ":" { return name }
        return path[...(path.lastIndex(of: "/") ?? path.startIndex)] + name
    }
}

/// An internal snapshot, under the keys of `qemu-img info`.
public struct SnapshotInfo: Encodable, Sendable {
    /// Its unique name within the image, usually a number.
    public var id: String
    /// What its maker called it.
    public var name: String
    /// The bytes of saved machine state; 0: none.
    public var vmStateSize: UInt64
    /// When it was taken: seconds since 1970.
    public var dateSec: UInt32
    /// Nanoseconds after that.
    public var dateNsec: UInt32
    /// How long the guest had been running, in seconds.
    public var vmClockSec: UInt64
    /// Nanoseconds after that.
    public var vmClockNsec: UInt64
    /// Instructions executed, in record/replay.
    public var icount: UInt64?
    /// The size of the disk when it was taken.
    public var diskSize: UInt64?

    private enum CodingKeys: String, CodingKey {
        case id, name, icount
        case vmStateSize = "vm-state-size"
        case dateSec = "date-sec"
        case dateNsec = "date-nsec"
        case vmClockSec = "vm-clock-sec"
        case vmClockNsec = "vm-clock-nsec"
        case diskSize = "disk-size"
    }

    /// What the snapshot table says of `snapshot`; beyond `qemu-img info`, the size that the disk had.
    public init(_ snapshot: Snapshot) {
        id = snapshot.id
        name = snapshot.name
        vmStateSize = snapshot.vmStateSize
        dateSec = snapshot.dateSeconds
        dateNsec = snapshot.dateNanoseconds
        vmClockSec = snapshot.vmClock / 1_000_000_000
        vmClockNsec = snapshot.vmClock % 1_000_000_000
        icount = snapshot.instructionCount
        diskSize = snapshot.diskSize
    }
}
