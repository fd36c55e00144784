extension Image {
    /// How the disk stores the `count` bytes from `start` on: the runs that `resolve` would answer one after another,
    /// except that they may be cut where runs of other layers end.
    ///
    /// Down a chain every layer is asked for all that is still open at once, so that the work is in proportion to the
    /// runs of all layers; `resolve` asks all layers again for every run. Throws what one of these look-ups throws,
    /// also where runs before that place could be read.
    func resolveAll(
        _ count: Int, from start: GuestOffset
    ) throws(ImageError) -> (runs: [DiskRun], lookUps: Int) {
        let end = start.rawValue.addingReportingOverflow(UInt64(clamping: count))
        guard !end.overflow, end.partialValue <= virtualSize else {
            throw ImageError(.outOfRange, about: .disk, "nothing at \(start): the disk has \(virtualSize) bytes")
        }
        if backing == nil, let part = layer as? SliceLayer { return try part.runs(count, from: start) }
        if backing == nil, let mapped = layer as? MappedLayer { return try mapped.runs(count, from: start) }
        var search = ChainSearch(open: [start.rawValue..<end.partialValue])
        var image: Image? = self
        while let layer = image, !search.open.isEmpty {
            try search.ask(layer)
            image = layer.backing
        }
        return (search.runs.sorted { $0.start < $1.start }, search.lookUps)
    }
}

/// What is found and what is still open on the way down a chain.
private struct ChainSearch {
    /// What no layer has answered for yet, in order.
    var open: [Range<UInt64>]
    /// What was found, in the order of the layers.
    var runs: [DiskRun] = []
    var depth = 0
    /// What the answers of the layers cost: see `WalkBudget`.
    var lookUps = 0

    /// Asks the topmost layer of `image` for all that is open, and leaves open what the images under it are to answer.
    mutating func ask(_ image: Image) throws(ImageError) {
        var below: [Range<UInt64>] = []
        // The last answer, which may go on past the end of the piece that it was asked for.
        var answer: DiskRun?
        for piece in open {
            var position = piece.lowerBound
            while position < piece.upperBound {
                // A backing image that is shorter than the disk reads as zeros past its end, at the depth of the image
                // over it, as in `resolve`.
                guard position < image.virtualSize else {
                    let zeros = Extent(
                        start: GuestOffset(position), count: piece.upperBound - position,
                        storage: .zero(explicit: false))
                    runs.append(DiskRun(zeros, of: image.layer, depth: depth - 1))
                    break
                }
                let limit = (open.last?.upperBound ?? piece.upperBound) - position
                if answer.map({ $0.end <= position }) ?? true {
                    let found = try image.layer.run(
                        at: GuestOffset(position), limit: min(limit, image.virtualSize - position))
                    lookUps += WalkBudget.lookUps(in: found.layer.layersAsked, of: image, for: found.count)
                    answer = found
                }
                guard var run = answer?.part(from: position, limit: piece.upperBound - position) else { return }
                position = run.end
                if case .unallocated = run.extent.storage {
                    guard image.backing == nil else {
                        Self.add(run.start.rawValue..<run.end, to: &below)
                        continue
                    }
                    run.extent.storage = .zero(explicit: false)
                }
                run.depth += depth
                runs.append(run)
            }
        }
        open = below
        depth += 1
    }

    /// Adds `range`, to the last one where that ends there.
    private static func add(_ range: Range<UInt64>, to ranges: inout [Range<UInt64>]) {
        if let last = ranges.last, last.upperBound == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            ranges.append(range)
        }
    }
}
