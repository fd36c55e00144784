import BlockImage

/// The sectors of a file that nothing uses, while its extent is checked, and the grains in them that no table has.
///
/// Files have space that was never written, or is allocated in advance: only what is not zeros counts.
struct UnusedSpace {
    /// The most runs of sectors that are kept.
    private static let limit = 1 << 16
    /// The most bytes that are read to find data in them.
    private static let readLimit: UInt64 = 256 << 20

    private var runs: [Range<UInt64>] = []

    /// Takes note of `sectors`, which nothing uses.
    mutating func add(_ sectors: Range<UInt64>) {
        if runs.count < Self.limit, !sectors.isEmpty { runs.append(sectors) }
    }

    /// What is to be said of grains in it; nil where there are none. Throws what reading the file throws.
    func finding(of tables: GrainTables) throws(ImageError) -> CheckFinding? {
        let file = tables.file
        let area = tables.missing.area
        var count: UInt64 = 0
        var first: HostOffset?
        var left = Self.readLimit
        let buffer = AlignedBuffer(capacity: 1 << 16)
        for run in runs {
            // Sectors of a file are less than 2^55.
            let start = max(run.lowerBound * sectorSize, area.start)
            let end = min(run.upperBound * sectorSize, area.end, file.size)
            // A grain that ends the disk takes less space than the others, and its rest is no grain.
            guard start < end, end - start >= tables.grainSize else { continue }
            var lastGrain = UInt64.max
            var position = start
            while position < end, left > 0 {
                let hole = file.run(at: HostOffset(position), limit: end - position)
                guard !hole.isHole else {
                    position += max(hole.count, 1)
                    continue
                }
                let size = min(hole.count, 1 << 16, end - position, left)
                try naming("data", at: HostOffset(position)) { () throws(ImageError) in
                    try buffer.fill(Int(size)) { output throws(ImageError) in
                        try file.read(Int(size), at: HostOffset(position), into: &output)
                    }
                }
                for (index, byte) in buffer.array.enumerated() where byte != 0 {
                    let grain = (position + UInt64(index) - start) / tables.grainSize
                    guard grain != lastGrain else { continue }
                    lastGrain = grain
                    count += 1
                    first = first ?? HostOffset(start + grain * tables.grainSize)
                }
                position += size
                left -= size
            }
        }
        guard let first else { return nil }
        return CheckFinding(
            .leak, .leak, path: file.path, at: first, times: count,
            "\(counted(count, "grain")) with data, the first at \(first): no grain table has \(count == 1 ? "it" : "them"), "
                + "so that \(count == 1 ? "it is" : "they are") leaked, or lost")
    }
}
