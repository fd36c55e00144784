import BlockImage
import ByteFormat
import Compression

/// Why one of the two copies of a GPT cannot be used.
struct GPTFault: Error {
    /// What is wrong.
    var message: ErrorText
    /// The header where it can be recognised: it may still say where the other copy is.
    var header: GPTHeader?
}

/// One of the two copies of a GPT, checked as a whole.
struct GPTCopy {
    let header: GPTHeader
    /// The entries as they are stored.
    let array: [UInt8]

    /// Reads the copy whose header is in the sector `lba`. Throws where it is not there or its check sums are wrong.
    init(at lba: UInt64, in sectors: Sectors) throws(GPTFault) {
        let sector: [UInt8]
        do throws(ImageError) {
            sector = try sectors.bytes(sectors.sectorSize.rawValue, at: lba)
        } catch {
            throw GPTFault(message: "the header cannot be read: \(error)")
        }
        var parsed: GPTHeader?
        do throws(ParseFault) {
            var reader = ByteReader(sector)
            header = try GPTHeader(parsing: &reader)
            parsed = header
            try header.check(sector, at: lba, sectorCount: sectors.count)
        } catch {
            throw GPTFault(message: "\(error.message)", header: parsed)
        }
        do throws(ImageError) {
            // `check` has held it to 4 MiB.
            array = try sectors.bytes(Int(clamping: header.arraySize), at: header.entryLBA)
        } catch {
            throw GPTFault(message: "the entries cannot be read: \(error)", header: header)
        }
        do throws(ParseFault) {
            try GPTHeader.compare(CRC32(of: array).value, with: header.arrayCheckSum, at: 88, of: "the entries")
        } catch {
            throw GPTFault(message: "\(error.message)", header: header)
        }
    }

    /// The entries that have a type, each with its index.
    var usedEntries: [(index: Int, entry: GPTEntry)] {
        let size = Int(clamping: header.entrySize)
        return (0..<Int(clamping: header.entryCount)).compactMap { index in
            // The type's 16 bytes are looked at first: a table of 4 MiB is mostly empty.
            guard array[index * size..<index * size + 16].contains(where: { $0 != 0 }) else { return nil }
            var reader = ByteReader(Array(array[index * size..<index * size + size]))
            return (try? GPTEntry(parsing: &reader)).map { (index, $0) }
        }
    }

    /// In what `other`, the other copy, differs; both should say the same, but for their own places.
    func differences(from other: GPTCopy) -> [String] {
        var result: [String] = []
        if header.diskGUID != other.header.diskGUID { result.append("the disk's GUID") }
        if (header.firstUsableLBA, header.lastUsableLBA) != (other.header.firstUsableLBA, other.header.lastUsableLBA) {
            result.append("the usable sectors")
        }
        if array != other.array { result.append("the entries") }
        return result
    }
}

/// Looks for a GPT with each sector size that may be meant: the primary at LBA 1, and the backup in the last sector, or
/// where the primary says.
struct GPTSearch {
    /// The most entries of which partitions are made: Linux has no numbers beyond 255.
    static let entryLimit = 1024

    /// What was found, and with which sectors.
    struct Found {
        var copy: GPTCopy
        var sectors: Sectors
        var isBackup: Bool
    }

    /// The copy to go by.
    private(set) var found: Found?
    /// What is wrong, in sentences.
    private(set) var notes: [ErrorText] = []

    /// Searches `disk`.
    init(disk: Image, sectorSizes: [SectorSize]) {
        let views = sectorSizes.map { Sectors(disk: disk, sectorSize: $0) }.filter { $0.count > 1 }
        var faults: [(sectors: Sectors, fault: GPTFault)] = []
        for sectors in views {
            do throws(GPTFault) {
                let primary = try GPTCopy(at: 1, in: sectors)
                found = Found(copy: primary, sectors: sectors, isBackup: false)
                compareBackup(with: primary, in: sectors)
                return
            } catch {
                faults.append((sectors, error))
            }
        }
        for (sectors, fault) in faults {
            guard let (lba, backup) = Self.backup(after: fault, in: sectors) else { continue }
            notes.append("primary GPT at LBA 1: \(fault.message)")
            notes.append("the backup GPT at LBA \(lba) is used")
            found = Found(copy: backup, sectors: sectors, isBackup: true)
            return
        }
        notes.append("sector 0 has a protective entry (type 0xee), but there is no GPT that can be used")
        // With the wrong sector size there is nothing to see, and nothing to say.
        for (sectors, fault) in faults where fault.header != nil || sectorSizes.count == 1 {
            notes.append("primary GPT at LBA 1 of \(sectors.size) bytes: \(fault.message)")
        }
    }

    /// The backup in the last sector, or else where the damaged primary says it is.
    private static func backup(after fault: GPTFault, in sectors: Sectors) -> (lba: UInt64, copy: GPTCopy)? {
        for lba in [sectors.count - 1, fault.header?.alternateLBA].compactMap({ $0 }) where lba > 1 {
            if let copy = try? GPTCopy(at: lba, in: sectors) { return (lba, copy) }
        }
        return nil
    }

    /// The backup at the end of `disk` whose first sectors, with the protective MBR and the primary header, are zeros as
    /// is all that is not the primary's entries: they were wiped. Nil where there is none, and where something else
    /// begins there, so that the backup is what a former use of the disk left: `former` then says so.
    static func backup(
        ofWiped disk: Image, sectorSizes: [SectorSize]
    ) -> (found: Found?, former: ErrorText?) {
        for size in sectorSizes {
            let sectors = Sectors(disk: disk, sectorSize: size)
            guard sectors.count > 2, let copy = try? GPTCopy(at: sectors.count - 1, in: sectors) else { continue }
            guard isWiped(copy, in: sectors) else {
                return (
                    nil,
                    "there is a backup GPT at LBA \(sectors.count - 1) of \(size.rawValue) bytes, but the disk begins "
                        + "with something else: it is not used"
                )
            }
            return (Found(copy: copy, sectors: sectors, isBackup: true), nil)
        }
        return (nil, nil)
    }

    /// What every file system and volume manager that leaves the first sectors empty has written to by its end: ext4 at
    /// 1 KiB, LVM and RAID within 4 KiB, ISO 9660 at 32 KiB, Btrfs at 64 KiB.
    private static let emptySize: UInt64 = 68 << 10

    private static func isWiped(_ backup: GPTCopy, in sectors: Sectors) -> Bool {
        let firstUsed = backup.usedEntries.map(\.entry.firstLBA).min() ?? backup.header.firstUsableLBA
        let count = min(firstUsed, emptySize / sectors.size, sectors.count - 1)
        guard count >= 2, var bytes = try? sectors.bytes(Int(count * sectors.size), at: 0) else { return false }
        // The primary's entries may still be there, from LBA 2 on.
        let start = 2 * sectors.sectorSize.rawValue
        let end = min(start + backup.array.count, bytes.count)
        if bytes[start..<end].elementsEqual(backup.array.prefix(end - start)) {
            bytes.replaceSubrange(start..<end, with: repeatElement(0, count: end - start))
        }
        return bytes.allSatisfy { $0 == 0 }
    }

    private mutating func compareBackup(with primary: GPTCopy, in sectors: Sectors) {
        let lba = primary.header.alternateLBA
        if lba != sectors.count - 1 {
            notes.append("the backup GPT is said to be at LBA \(lba), but the last sector is LBA \(sectors.count - 1)")
        }
        guard lba < sectors.count else { return }
        do throws(GPTFault) {
            let backup = try GPTCopy(at: lba, in: sectors)
            let differences = backup.differences(from: primary)
            if !differences.isEmpty {
                notes.append("primary and backup GPT differ in \(differences.joined(separator: " and "))")
            }
        } catch {
            notes.append("backup GPT at LBA \(lba): \(error.message)")
        }
    }
}
