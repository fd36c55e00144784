import BlockImage
import ImageFormats
import QCOW2
import VMDK

/// Reads all that one file of a chain stores of its disk, and inflates what is compressed.
struct DataCheck {
    /// The most bytes that are read at once.
    private static let readSize: UInt64 = 1 << 20

    private let path: String
    private let layer: (any ImageLayer)?

    /// The check of what `description`'s file stores.
    init(of description: LayerDescription) {
        path = description.file.path
        switch description.facts {
        case .raw: layer = RawLayer(file: description.file)
        case .qcow2(_, let layer): self.layer = layer
        case .vmdk(_, let layer): self.layer = layer
        }
    }

    /// Adds what cannot be read to `result`; also where the disk is stored in more runs, or more bytes, than its files can
    /// have: a small hostile image can name one compressed cluster again and again. Throws only that it was cancelled.
    func run(
        _ result: inout CheckResult, runLimit: Int = Image.walkLimit, progress: (Double) -> Void
    ) throws(ImageError) {
        guard let layer else {
            return result.add(
                CheckFinding(.data, .error, path: path, "the data of the disk: not read, as it needs a key, or a file"))
        }
        let disk = Image(layer: layer)
        var budget = WalkBudget(hostSize: disk.hostSize, mostLookUps: UInt64(clamping: runLimit))
        let buffer = AlignedBuffer(capacity: Int(Self.readSize))
        var position: UInt64 = 0
        while position < disk.virtualSize {
            progress(Double(position) / Double(disk.virtualSize))
            try ReadScope.checkWanted()
            let start = GuestOffset(position)
            do throws(ImageError) {
                let extent = try disk.resolve(at: start, limit: disk.virtualSize - position).extent
                let lookUps = WalkBudget.lookUps(in: 1, of: disk, for: extent.count)
                guard budget.takeLookUps(lookUps), let count = read(disk, extent, buffer, &budget, &result) else {
                    return addEnd(at: start, &result)
                }
                position += count
            } catch {
                if error.isCancelled { throw error }
                let count = disk.lost(at: start, limit: disk.virtualSize - position)
                add(error, position, count, &result)
                position += count
                // What is lost is looked up twice.
                guard budget.takeLookUps(WalkBudget.lookUps(in: 2, of: disk, for: count)) else {
                    return addEnd(at: GuestOffset(position), &result)
                }
            }
        }
    }

    /// Says that not all was read.
    private func addEnd(at place: GuestOffset, _ result: inout CheckResult) {
        result.add(
            CheckFinding(
                .data, .error, path: path, guest: place,
                "the data of the disk is stored in too many runs to read them: read up to \(place)"))
    }

    /// Reads the beginning of `extent`, at most `readSize` bytes of it if they are stored, and answers how many; nil where
    /// `budget` does not allow it.
    private func read(
        _ disk: Image, _ extent: Extent, _ buffer: AlignedBuffer, _ budget: inout WalkBudget,
        _ result: inout CheckResult
    ) -> UInt64? {
        var part = extent
        switch extent.storage {
        case .zero, .unallocated: return extent.count
        case .data(let file, let offset):
            let run = file.run(at: offset, limit: extent.count)
            if run.isHole { return run.count }
            part.count = min(run.count, Self.readSize)
        case .encoded: part.count = min(extent.count, Self.readSize)
        }
        guard budget.takeReading(part) else { return nil }
        let start = part.start.rawValue
        var lost = LostRanges()
        var first: ImageError?
        buffer.fill(Int(part.count)) { output in
            disk.read(start..<start + part.count, into: &output, &lost) { first = first ?? $0 }
        }
        for range in lost.ranges {
            if let first { add(first, range.start, range.length, &result) }
        }
        return part.count
    }

    /// A bad sector of the host is no damage of the image's: it could not be checked.
    private func add(_ error: ImageError, _ start: UInt64, _ count: UInt64, _ result: inout CheckResult) {
        var severity = CheckFinding.Severity.corruption
        if case .system = error.code { severity = .error }
        let start = GuestOffset(start)
        result.add(.data, severity, at: error.offset) {
            return CheckFinding(
                .data, severity, path: error.path, at: error.offset, guest: start,
                "the data of guest offset \(start)\(count > 512 ? ", \(counted(count, "byte"))" : ""): \(error.message)"
            )
        }
    }
}
