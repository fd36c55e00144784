import PartitionTable

/// What `stats.json` says of a disk's partition table.
struct PartitionTableFacts: Encodable {
    /// One partition.
    struct Entry: Encodable {
        var number: Int
        /// Its file in the image's folder; nil for the room of logical partitions, which is none.
        var file: String?
        var start: UInt64
        var size: UInt64
        /// The type as its table writes it: two hexadecimal digits, or a GUID.
        var type: String
        var typeName: String?
        /// The name in a GPT.
        var name: String?
        /// What Linux calls PARTUUID.
        var uuid: String?
        var active: Bool?
        var attributes: String?

        private enum CodingKeys: String, CodingKey {
            case number, file, start, size, type, name, uuid, active, attributes
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
            }
        }
    }

    private var scheme: String
    private var sectorSize: Int
    private var id: String?
    private var usedBackup: Bool?
    private var partitions: [Entry]
    private var extended: [Entry]?
    private var notes: [String]?
    private var error: StatsDocument.Failure?

    private enum CodingKeys: String, CodingKey {
        case scheme, id, partitions, extended, notes, error
        case sectorSize = "sector-size"
        case usedBackup = "used-backup"
    }

    /// The facts of `table`; nil where the disk has none, and nothing is odd about that.
    init?(_ table: PartitionTable) {
        guard table.scheme != .none || !table.notes.isEmpty || table.fault != nil else { return nil }
        scheme = table.scheme.rawValue
        sectorSize = table.sectorSize.rawValue
        id = table.diskID
        usedBackup = table.usedBackup ? true : nil
        partitions = table.partitions.map { partition in
            var entry = Entry(partition)
            let name = String(decoding: Node.Name.partition(partition.number), as: UTF8.self)
            entry.file = "\(String(decoding: Node.Name.partitions, as: UTF8.self))/\(name)"
            return entry
        }
        extended = table.extendedPartitions.isEmpty ? nil : table.extendedPartitions.map { Entry($0) }
        notes = table.notes.isEmpty ? nil : table.notes
        error = table.fault.map { StatsDocument.Failure($0) }
    }
}
