extension Image {
    /// How the disk stores the `count` bytes from `start` on: the runs that `resolve` would answer one after another,
    /// except that they may be cut where runs of other layers end.
    ///
    /// Down a chain every layer is asked for all that is still open at once, so that the work is in proportion to the
    /// runs of all layers; `resolve` asks all layers again for every run. Throws what one of these look-ups throws,
    /// also where runs before that place could be read.
    func resolveAll(_ count: Int, from start: GuestOffset) throws(ImageError) -> [Resolution] {
        let end = start.rawValue.addingReportingOverflow(UInt64(clamping: count))
        guard !end.overflow, end.partialValue <= virtualSize else {
            throw ImageError(.outOfRange, path: "disk", "nothing at \(start): the disk has \(virtualSize) bytes")
        }
        var search = ChainSearch(open: [start.rawValue..<end.partialValue])
        var image: Image? = self
        while let layer = image, !search.open.isEmpty {
            try search.ask(layer)
            image = layer.backing
        }
        return search.runs.sorted { $0.extent.start < $1.extent.start }
    }
}

/// What is found and what is still open on the way down a chain.
private struct ChainSearch {
    /// What no layer has answered for yet, in order.
    var open: [Range<UInt64>]
    /// What was found, in the order of the layers.
    var runs: [Image.Resolution] = []
    var depth = 0

    /// Asks the topmost layer of `image` for all that is open, and leaves open what the images under it are to answer.
    mutating func ask(_ image: Image) throws(ImageError) {
        var below: [Range<UInt64>] = []
        // The last answer, which may go on behind the piece that it was asked for.
        var answer: Extent?
        for piece in open {
            var position = piece.lowerBound
            while position < piece.upperBound {
                // A backing image that is shorter than the disk reads as zeros behind its end, at the depth of the image
                // over it, as in `resolve`.
                guard position < image.virtualSize else {
                    add(position..<piece.upperBound, .zero(explicit: false), image, at: depth - 1)
                    break
                }
                let limit = (open.last?.upperBound ?? piece.upperBound) - position
                if answer.map({ $0.start.rawValue + $0.count <= position }) ?? true {
                    answer = try image.layer.extent(
                        at: GuestOffset(position), limit: min(limit, image.virtualSize - position))
                }
                guard let found = answer else { return }
                let part = position..<min(piece.upperBound, found.start.rawValue + found.count)
                switch found.storage {
                case .unallocated where image.backing != nil:
                    if below.last?.upperBound == part.lowerBound, let last = below.popLast() {
                        below.append(last.lowerBound..<part.upperBound)
                    } else {
                        below.append(part)
                    }
                case .unallocated: add(part, .zero(explicit: false), image)
                case .zero(let explicit): add(part, .zero(explicit: explicit), image)
                case .data(let file, let offset):
                    add(part, .data(file: file, offset: offset.advanced(by: position - found.start.rawValue)), image)
                case .encoded:
                    // Only the layer knows which of the bytes on the host a part needs.
                    let exact = try image.layer.extent(at: GuestOffset(position), limit: UInt64(part.count))
                    runs.append(Image.Resolution(extent: exact, layer: image.layer, depth: depth))
                    answer = nil
                    position += exact.count
                    continue
                }
                position = part.upperBound
            }
        }
        open = below
        depth += 1
    }

    private mutating func add(
        _ part: Range<UInt64>, _ storage: Extent.Storage, _ image: Image, at depth: Int? = nil
    ) {
        let extent = Extent(start: GuestOffset(part.lowerBound), count: UInt64(part.count), storage: storage)
        runs.append(Image.Resolution(extent: extent, layer: image.layer, depth: depth ?? self.depth))
    }
}
