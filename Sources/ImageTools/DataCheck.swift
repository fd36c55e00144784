import BlockImage
import FormatCore
import ImageFormats

/// Reads all that one file of a chain stores of its disk, and inflates what is compressed.
struct DataCheck {
    /// The most bytes that are read at once.
    private static let readSize: UInt64 = 1 << 20

    private let path: String
    private let layer: (any ImageLayer)?

    /// The check of what `description`'s file stores.
    init(of description: LayerDescription) {
        path = description.file.path
        layer = description.image?.layer
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
        var runs = DiskRuns(
            of: disk, ignoresErrors: true,
            budget: WalkBudget(hostSize: disk.hostSize, mostLookUps: UInt64(clamping: runLimit)))
        let buffer = AlignedBuffer(capacity: Int(Self.readSize))
        var position: UInt64 = 0
        while position < disk.virtualSize {
            progress(Double(position) / Double(disk.virtualSize))
            try ReadScope.checkWanted()
            do throws(ImageError) {
                let run = runs.splitAtHoles(try runs.run(at: position, limit: disk.virtualSize - position))
                if let error = run.error {
                    add(error, position, run.count, &result)
                    position = run.end
                } else {
                    position += try read(run, of: disk, buffer, &runs, &result)
                }
            } catch {
                if error.isCancelled { throw error }
                return addEnd(at: GuestOffset(position), &result)
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

    /// Reads the beginning of `run`, at most `readSize` bytes of it if they are stored, and answers how many. Throws where
    /// the budget of `runs` does not allow it.
    private func read(
        _ run: DiskRun, of disk: Image, _ buffer: AlignedBuffer, _ runs: inout DiskRuns, _ result: inout CheckResult
    ) throws(ImageError) -> UInt64 {
        guard !run.isZeros else { return run.count }
        var part = RunList()
        part.append(run.part(from: run.start.rawValue, limit: Self.readSize))
        let count = UInt64(part.bytes.count)
        try runs.takeReading(count, of: run)
        var lost = LostRanges()
        var first: ImageError?
        buffer.fill(Int(count)) { output in
            part.read(part.bytes, of: disk, into: &output, &lost) { first = first ?? $0 }
        }
        for range in lost.ranges {
            if let first { add(first, range.start, range.length, &result) }
        }
        return count
    }

    /// A bad sector of the host is no damage of the image's: it could not be checked.
    private func add(_ error: ImageError, _ start: UInt64, _ count: UInt64, _ result: inout CheckResult) {
        var severity = CheckFinding.Severity.corruption
        if case .system = error.code { severity = .error }
        let start = GuestOffset(start)
        result.add(.data, severity, at: error.offset) {
            return CheckFinding(
                .data, severity, path: error.path, at: error.offset, guest: start,
                "the data of guest offset \(start)\(count > 512 ? ", \(counted(count, "byte"))" : ""): \(error.detail)"
            )
        }
    }
}
