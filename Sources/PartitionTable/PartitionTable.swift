import BlockImage

/// What partitions a disk has, as its MBR or GPT says. A table that is damaged gives what can be read of it, and notes.
public struct PartitionTable: Hashable, Sendable {
    /// The kinds of tables.
    public enum Scheme: String, Sendable {
        /// The disk has no table that is known here: perhaps a file system, or nothing.
        case none
        /// A master boot record, with logical partitions where there is an extended one.
        case mbr
        /// A GUID Partition Table.
        case gpt
        /// An Apple partition map, whose partitions are not read.
        case apple = "apm"
    }

    /// The kind of the table.
    public internal(set) var scheme = Scheme.none
    /// What the table counts in.
    public internal(set) var sectorSize = SectorSize.bytes512
    /// The identifier of the disk: the GPT's DiskGUID, or the MBR's signature as `0x1234abcd`; nil where it is 0.
    public internal(set) var diskID: String?
    /// The partitions by number; every one lies on the disk, but they may overlap.
    public internal(set) var partitions: [Partition] = []
    /// The extended partition, in which an MBR's logical partitions lie: it has no data itself, though Linux numbers
    /// it.
    public internal(set) var extendedPartitions: [Partition] = []
    /// What is damaged, or not as it should be, each a sentence; at most 65.
    public internal(set) var notes: [ErrorText] = []
    /// Whether a GPT was read from the end of the disk, since the one at its start is damaged.
    public internal(set) var usedBackup = false
    /// Why the first sector could not be read, on which all depends.
    public internal(set) var fault: ImageError?

    /// Reads the table of `disk`.
    ///
    /// Most images do not say what their guest's sectors were: without `sectorSize`, a GPT is looked for with both sizes, and
    /// an MBR is read in sectors of 512 bytes, unless its first logical partition is there only with 4096. Where the image
    /// says it, its size goes first.
    ///
    /// Work and memory are bounded whatever the disk holds: at most two dozen MiB are read.
    public init(of disk: Image, sectorSize: SectorSize? = nil) {
        guard disk.virtualSize >= UInt64(BootRecord.size) else { return }
        do throws(ImageError) {
            let first = Sectors(disk: disk, sectorSize: .bytes512)
            let reader = TableReader(disk: disk, sectorSizes: sectorSize.map { [$0] } ?? Self.sectorSizes(of: disk))
            self = reader.table(afterBootSector: try first.bytes(BootRecord.size, at: 0))
        } catch {
            fault = error
        }
    }

    /// An empty table.
    init() {}

    /// The sizes that the sectors of `disk` may have, the likelier first.
    private static func sectorSizes(of disk: Image) -> [SectorSize] {
        let said = disk.layer.logicalSectorSize.flatMap { SectorSize(rawValue: $0) }
        return (said.map { [$0] } ?? []) + SectorSize.allCases.filter { $0 != said }
    }

    /// The partition `number`; nil where there is none.
    public func partition(_ number: Int) -> Partition? {
        partitions.first { $0.number == number }
    }
}
