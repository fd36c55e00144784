import BlockImage
import ByteFormat

/// The chain of boot records (EBRs) in an extended partition, each with an entry for a logical partition, whose sectors
/// count from that record, and one for the next record, whose sectors count from the extended partition. There is no
/// specification: this is what Linux reads (block/partitions/msdos.c).
struct LogicalPartitions {
    /// The most records that are read of all chains: Linux has no numbers beyond 255.
    static let recordLimit = 256

    /// An entry, and the sector that it counts from.
    struct Found {
        var base: UInt64
        var entry: BootRecord.Entry
    }

    let sectors: Sectors
    /// What was found, in the order in which it is numbered.
    private(set) var found: [Found] = []
    /// What is wrong with the chains.
    private(set) var notes: [ErrorText] = []
    private var visited: Set<UInt64> = []

    init(sectors: Sectors) {
        self.sectors = sectors
    }

    /// Follows the chain of `container`, the extended partition `number`.
    mutating func read(_ container: BootRecord.Entry, number: Int) {
        let what = "extended partition \(number)"
        let start = UInt64(container.firstSector)
        var position = start
        var size = UInt64(container.sectorCount)
        while true {
            guard visited.count < Self.recordLimit else {
                notes.append("\(what): has more than \(Self.recordLimit) boot records: the rest is not read")
                return
            }
            // Sector 0 is none of the chain, but has four entries as well.
            guard position > 0, visited.insert(position).inserted else {
                notes.append("\(what): the chain of boot records comes back to LBA \(position): it ends there")
                return
            }
            let record: BootRecord
            do throws(ImageError) {
                let bytes = try sectors.bytes(BootRecord.size, at: position)
                var reader = ByteReader(bytes)
                do throws(ParseFault) {
                    record = try BootRecord(parsing: &reader)
                } catch {
                    // An extended partition that nothing was ever put into.
                    if position == start && bytes.allSatisfy({ $0 == 0 }) { return }
                    notes.append("\(what): the boot record at LBA \(position): \(error.message)")
                    return
                }
            } catch {
                notes.append("\(what): the boot record at LBA \(position) cannot be read: \(error)")
                return
            }
            collect(record, at: position, size: size, in: start..<start + UInt64(container.sectorCount))
            guard let next = record.entries.first(where: \.isExtended) else { return }
            position = start + UInt64(next.firstSector)
            size = UInt64(next.sectorCount)
        }
    }

    /// Takes the logical partitions of `record`, which describes `size` sectors from `position` on.
    private mutating func collect(
        _ record: BootRecord, at position: UInt64, size: UInt64, in container: Range<UInt64>
    ) {
        for (index, entry) in record.entries.enumerated() where entry.isUsed && !entry.isExtended {
            let first = position + UInt64(entry.firstSector)
            let end = first + UInt64(entry.sectorCount)
            // OS/2 used all four entries; others leave junk in the last two, which has to make sense to count.
            let makesSense = end - position <= size && first >= container.lowerBound && end <= container.upperBound
            if index < 2 || makesSense { found.append(Found(base: position, entry: entry)) }
        }
    }
}
