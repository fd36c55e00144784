import BlockImage

/// The bytes of a sector of a disk, in which partition tables count. Images do not say it.
public enum SectorSize: Int, CaseIterable, Hashable, Sendable {
    /// What almost all virtual disks have.
    case bytes512 = 512
    /// "4K native" disks.
    case bytes4096 = 4096
}

/// A disk as its partition table counts it.
struct Sectors {
    let disk: Image
    let sectorSize: SectorSize

    /// The bytes of one sector.
    var size: UInt64 { UInt64(sectorSize.rawValue) }
    /// The whole sectors of the disk.
    var count: UInt64 { disk.virtualSize / size }

    /// Where the sector `index` begins; it must be on the disk.
    func offset(of index: UInt64) -> GuestOffset {
        GuestOffset(index * size)
    }

    /// The `count` bytes from the start of the sector `first` on. Throws `outOfRange`, before anything is allocated,
    /// where they are not all on the disk.
    func bytes(_ count: Int, at first: UInt64) throws(ImageError) -> [UInt8] {
        guard first < self.count, UInt64(clamping: count) <= disk.virtualSize - first * size else {
            throw ImageError(
                .outOfRange, about: .disk,
                "LBA \(first): \(count) bytes are needed there, but it has \(self.count) sectors")
        }
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in
            try disk.read(count, at: offset(of: first), into: &output)
        }
        return buffer.array
    }
}

/// What was found to be wrong with a table, in sentences.
struct Notes {
    /// More of them are of no use, and a table of 1,024 entries can be wrong in each.
    static let limit = 64

    private var sentences: [ErrorText] = []
    private var leftOut = 0

    mutating func add(_ sentence: ErrorText) {
        if sentences.count < Self.limit { sentences.append(sentence) } else { leftOut += 1 }
    }

    /// All that were kept, and how many were not.
    var all: [ErrorText] { leftOut == 0 ? sentences : sentences + ["\(leftOut) more faults are not listed"] }
}
