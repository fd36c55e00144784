extension Image {
    /// Makes `range` of the disk, which lies inside it, quick to read: fetches the tables that say where it lies, inflates
    /// what is compressed as far as caches keep it, and tells the host of what lies in many places.
    ///
    /// What goes wrong here will go wrong again when it is read, and be told then.
    public func makeReady(_ range: Range<UInt64>) {
        var runs = DiskRuns(of: self, to: range.upperBound)
        var position = range.lowerBound
        while position < range.upperBound {
            guard let run = try? runs.run(at: position, limit: range.upperBound - position) else { return }
            switch run.extent.storage {
            case .encoded(.compressed, _, _, _), .encoded(.checked, _, _, _):
                // One byte of it brings the whole cluster into the cache.
                let byte = AlignedBuffer(capacity: 1, alignment: 1)
                let first = run.part(from: position, limit: 1)
                _ = try? byte.fill(1) { output throws(ImageError) in try first.read(into: &output) }
            case .data(let file, let offset) where run.count < range.upperBound - range.lowerBound:
                // What lies in one piece the host reads ahead by itself.
                file.willNeed(run.count, at: offset)
            case .data, .zero, .encoded, .unallocated: break
            }
            position = run.end
        }
    }
}
