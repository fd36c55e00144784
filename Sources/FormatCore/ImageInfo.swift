import BlockImage

/// What is known of an image: a superset of what `qemu-img info --output=json` prints, under the same keys with the
/// same meaning. What does not apply to an image, or could not be found out, is left out.
public struct ImageInfo: Encodable, Sendable {
    /// The file's canonical path.
    public var filename: PathText
    /// The name of its format: "raw", "qcow2", "vmdk".
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

    /// The image in the file at `path`, of the format `format`, of which nothing else is known.
    public init(path: String, format: String, actualSize: UInt64) {
        filename = PathText(path)
        self.format = format
        self.actualSize = actualSize
    }

    /// Sets `actualSize` to what `files`, those that the image is stored in, take on the host, each once.
    public mutating func setActualSize(of files: [any HostFile]) {
        var counted: Set<HostFileID> = []
        actualSize = files.reduce(0) { sum, file in
            guard counted.insert(file.id).inserted else { return sum }
            let (more, isTooLarge) = sum.addingReportingOverflow(file.allocatedSize)
            return isTooLarge ? .max : more
        }
    }

    /// The file `name` in the folder of the file at `path`. An absolute name stays as it is, and so does one with a
    /// colon before its first slash, which QEMU reads as `protocol:rest`.
    public static func joined(_ name: String, besides path: String) -> String {
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
    public init(_ snapshot: DiskSnapshot) {
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

/// What only one format has, under the keys of `qemu-img info`: `{"type": …, "data": …}`.
public struct FormatSpecific: Encodable, Sendable {
    /// The name of the format.
    public var type: String
    /// An object with what it has.
    public var data: any Encodable & Sendable

    private enum CodingKeys: String, CodingKey {
        case type, data
    }

    /// What the format `type` has.
    public init(type: String, data: any Encodable & Sendable) {
        self.type = type
        self.data = data
    }

    /// Encodes both.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(type, forKey: .type)
        try data.encode(to: container.superEncoder(forKey: .data))
    }
}

/// A header extension of a type that the format's specification does not give.
public struct HeaderExtensionInfo: Encodable, Sendable {
    /// The type, as `0x…`.
    public var type: String
    /// How many bytes it has.
    public var size: UInt32

    /// The extension of the type `type` with `size` bytes.
    public init(type: UInt32, size: UInt32) {
        self.type = "0x" + String(type, radix: 16)
        self.size = size
    }
}
