import BlockImage
import ByteFormat

/// What `stats.json` and `rblock info` say of a disk's partition table.
public struct PartitionTableInfo: Encodable, Sendable {
    /// One partition.
    public struct Entry: Encodable, Sendable {
        /// The number that Linux gives it.
        public var number: Int
        /// Its file in a mount; nil where there is none, as for an extended partition.
        public var file: String?
        /// Where it begins on the disk, in bytes.
        public var start: UInt64
        /// How many bytes it has.
        public var size: UInt64
        /// The type as its table writes it: two hexadecimal digits, or a GUID.
        public var type: String
        /// What the type is called; nil for one that is not known.
        public var typeName: String?
        /// What it is by its content, for other software than file systems.
        public var content: MemberType?
        /// The name in a GPT.
        public var name: String?
        /// What Linux calls PARTUUID.
        public var uuid: String?
        /// Whether an MBR calls it active.
        public var active: Bool?
        /// The attribute bits of a GPT, as `0x…`.
        public var attributes: String?

        private enum CodingKeys: String, CodingKey {
            case number, file, start, size, type, content, name, uuid, active, attributes
            case typeName = "type-name"
        }

        init(_ partition: Partition) {
            number = partition.number
            start = partition.start.rawValue
            size = partition.size
            typeName = partition.typeName
            uuid = partition.uuid
            switch partition.entry {
            case .mbr(let type, let isActive):
                self.type = (type < 16 ? "0" : "") + String(type, radix: 16)
                active = isActive
            case .gpt(let type, _, let attributes, let name):
                self.type = type.description
                self.attributes = "0x" + String(attributes, radix: 16)
                self.name = name
            case .bsd(let type): self.type = hexDigits(type, 2)
            case .solaris(let tag): self.type = hexDigits(tag, 2)
            }
        }
    }

    /// "mbr", "gpt", "apm" or "none".
    public var scheme: String
    /// What the table counts in, in bytes.
    public var sectorSize: Int
    /// The identifier of the disk.
    public var id: String?
    /// True where a GPT was read from the end of the disk.
    public var usedBackup: Bool?
    /// The partitions by number.
    public var partitions: [Entry]
    /// The extended partition, in which logical partitions lie.
    public var extended: [Entry]?
    /// What is damaged, or not as it should be, each a sentence.
    public var notes: [ErrorText]?
    /// Why the first sector could not be read.
    public var error: ImageError?

    private enum CodingKeys: String, CodingKey {
        case scheme, id, partitions, extended, notes, error
        case sectorSize = "sector-size"
        case usedBackup = "used-backup"
    }

    /// Of how many partitions the content is looked at.
    private static let contentLimit = 128

    /// The facts of `table`, that of `disk`; nil where that has none, and nothing is odd about that. `file` answers the file of a
    /// partition's number in a mount.
    public init?(_ table: PartitionTable, on disk: Image, file: (Int) -> String? = { _ in nil }) {
        guard table.scheme != .none || !table.notes.isEmpty || table.fault != nil else { return nil }
        scheme = table.scheme.rawValue
        sectorSize = table.sectorSize.rawValue
        id = table.diskID
        usedBackup = table.usedBackup ? true : nil
        partitions = table.partitions.enumerated().map { index, partition in
            var entry = Entry(partition)
            if index < Self.contentLimit { entry.content = MemberType(of: partition.image(in: disk)) }
            entry.file = file(partition.number)
            return entry
        }
        extended = table.extendedPartitions.isEmpty ? nil : table.extendedPartitions.map { Entry($0) }
        notes = table.notes.isEmpty ? nil : table.notes
        error = table.fault
    }
}
