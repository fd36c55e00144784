extension Image {
    /// Makes `range` of the disk, which lies inside it, quick to read: fetches the tables that say where it lies, inflates
    /// what is compressed as far as caches keep it, and tells the host of what lies in many places.
    ///
    /// What goes wrong here will go wrong again when it is read, and be told then.
    public func makeReady(_ range: Range<UInt64>) {
        var position = range.lowerBound
        while position < range.upperBound {
            let place = GuestOffset(position)
            guard let found = try? resolve(at: place, limit: range.upperBound - position) else { return }
            switch found.extent.storage {
            case .encoded(.compressed, _, _, _):
                // One byte of it brings the whole cluster into the cache.
                let byte = AlignedBuffer(capacity: 1, alignment: 1)
                _ = try? byte.fill(1) { output throws(ImageError) in try read(1, at: place, into: &output) }
            case .data(let file, let offset) where found.extent.count < range.upperBound - range.lowerBound:
                // What lies in one piece the host reads ahead by itself.
                file.willNeed(found.extent.count, at: offset)
            case .data, .zero, .encoded, .unallocated: break
            }
            position += found.extent.count
        }
    }
}
