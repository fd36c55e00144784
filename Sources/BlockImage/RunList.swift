/// A part of a disk whose runs have been found: reading it looks nothing up. Its runs have no gaps between them.
///
/// A value; may be used from any thread, as `DiskRun`.
public struct RunList: Sendable {
    /// The runs, in order.
    public private(set) var runs: [DiskRun] = []

    /// Nothing yet.
    public init() {}

    /// Whether it has no byte.
    public var isEmpty: Bool { runs.isEmpty }

    /// The bytes of the disk that it is.
    public var bytes: Range<UInt64> { (runs.first?.start.rawValue ?? 0)..<(runs.last?.end ?? 0) }

    /// Adds `run`, which begins where the part ends, unless it is empty.
    public mutating func append(_ run: DiskRun) {
        precondition(isEmpty || run.start.rawValue == bytes.upperBound, "a run that does not follow")
        runs.append(run)
    }

    /// Drops what lies before `position`.
    public mutating func drop(to position: UInt64) {
        runs.removeFirst(runs.prefix { $0.end <= position }.count)
        if let first = runs.first, first.start.rawValue < position {
            runs[0] = first.part(from: position, limit: .max)
        }
    }

    /// What of it lies in `range`.
    public func part(_ range: Range<UInt64>) -> RunList {
        var part = RunList()
        for run in runs[index(holding: range.lowerBound)...] where run.start.rawValue < range.upperBound {
            part.append(run.part(in: range))
        }
        return part
    }

    /// Appends the bytes `range` of the disk, which lie in the part, to `output`, which must have that much capacity left.
    ///
    /// Throws what reading a run throws; what was read before that stays in `output`.
    public func read(_ range: Range<UInt64>, into output: inout OutputRawSpan) throws(ImageError) {
        for run in runs[index(holding: range.lowerBound)...] where run.start.rawValue < range.upperBound {
            try run.part(in: range).read(into: &output)
        }
    }

    /// The same; what cannot be read, or was not found, is zeros in `output` and goes to `lost`. Slower where something is
    /// lost: it is looked for sector by sector, in `image`, which the part is of.
    public func read(
        _ range: Range<UInt64>, of image: Image, into output: inout OutputRawSpan, _ lost: inout LostRanges,
        note: (ImageError) -> Void = { _ in }
    ) {
        for run in runs[index(holding: range.lowerBound)...] where run.start.rawValue < range.upperBound {
            let part = run.part(in: range)
            let before = output.byteCount
            do throws(ImageError) {
                if let error = run.error { lost.add(part.start.rawValue, part.count, error) }
                try part.read(into: &output)
            } catch {
                let position = part.start.rawValue + UInt64(output.byteCount - before)
                image.read(position..<part.end, into: &output, &lost, note: note)
            }
        }
    }

    /// The run that holds `position`, by bisection.
    private func index(holding position: UInt64) -> Int {
        var (index, end) = (0, runs.count)
        while index < end {
            let middle = index + (end - index) / 2
            if runs[middle].end <= position { index = middle + 1 } else { end = middle }
        }
        return index
    }
}

extension DiskRun {
    /// What of it lies in `range`, which it reaches into.
    fileprivate func part(in range: Range<UInt64>) -> DiskRun {
        let position = max(start.rawValue, range.lowerBound)
        return part(from: position, limit: range.upperBound - position)
    }
}
