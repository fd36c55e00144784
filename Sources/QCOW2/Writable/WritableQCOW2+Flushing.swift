import BlockImage
import ByteFormat
import Synchronization

/// The flushes of an image: one at a time, and one for all that ask for it while another goes on.
struct Flushing: Sendable {
    /// How many have begun.
    var begun: UInt64 = 0
    /// How many have ended.
    var ended: UInt64 = 0
    /// What those that failed failed with, by their number; of the last few.
    var failures: [UInt64: ImageError] = [:]

    /// How many failures are kept for those that still wait for them.
    private static let failureLimit: UInt64 = 64

    /// Ends the one that goes on.
    mutating func end(_ error: ImageError?) {
        ended = begun
        failures[ended] = error
        if ended > Self.failureLimit { failures[ended - Self.failureLimit] = nil }
    }
}

extension WritableQCOW2 {
    /// The most bytes of tables that are written at once.
    private static let pieceLimit = 1 << 20

    /// Returns when everything that was done before the call is on stable storage.
    public func flush() throws(ImageError) {
        try metadata.withLock { metadata throws(ImageError) in try metadata.checkIsSound() }
        if !isFlushed { try runFlush() }
    }

    /// Whether nothing was changed that a flush has not seen.
    var isFlushed: Bool {
        flushedChanges.load(ordering: .sequentiallyConsistent) == changes.load(ordering: .sequentiallyConsistent)
    }

    /// Writes the tables that were changed, in the same order and with the same barriers, and gives back what was accounted
    /// ahead.
    public func writeBack() throws(ImageError) {
        releaseRetired()
        metadata.withLock { $0.releaseReserve() }
        // What a flush gives up is counted down after it, and written by the next.
        for _ in 0..<2 {
            guard metadata.withLock({ $0.hasChanges }) else { return }
            try runFlush(isLast: true)
        }
    }

    /// Flushes, has everything in the file that is in memory only, and gives back the space that was set aside.
    public func close() throws(ImageError) {
        // One that was begun may have the last changes.
        flushing.wait { $0.begun == $0.ended ? () : nil }
        if !isFlushed { try runFlush(isLast: true) }
        try writeBack()
        let isCut = try metadata.withLock { metadata throws(ImageError) in try metadata.cutUnused(to: file.size) }
        if isCut { try sync() }
    }

    /// Waits for a flush that begins from now on: its own, unless another thread begins it. `isLast`: more writes are not
    /// expected soon.
    func runFlush(isLast: Bool = false) throws(ImageError) {
        let wanted = flushing.change { $0.begun + 1 }
        let (isMine, error) = flushing.wait { state -> (Bool, ImageError?)? in
            if state.ended >= wanted { return (false, state.failures[wanted]) }
            guard state.begun == state.ended else { return nil }
            state.begun += 1
            return (true, nil)
        }
        if let error { throw error }
        guard isMine else { return }
        do throws(ImageError) {
            try writeChanges(reserves: !isLast)
        } catch {
            flushing.change { $0.end(error) }
            throw error
        }
        flushing.change { $0.end(nil) }
    }

    private func writeChanges(reserves: Bool) throws(ImageError) {
        let seen = changes.load(ordering: .sequentiallyConsistent)
        let taken = try metadata.withLock { metadata throws(ImageError) in
            if reserves { metadata.reserve() }
            return try metadata.takeChanges()
        }
        var stage = MetadataChanges.Stage.accounted
        do throws(ImageError) {
            try write(taken.accounted)
            let isLast = taken.table.isEmpty && taken.movedTable == nil && taken.published.isEmpty
            if !isLast, !taken.accounted.isEmpty || taken.hasNewData { try sync() }
            stage = .table
            try write(taken.table)
            if let moved = taken.movedTable { try writeHeader(moved) }
            if !taken.table.isEmpty || taken.movedTable != nil { try sync() }
            stage = .published
            try write(taken.published)
            try sync()
        } catch {
            metadata.withLock { $0.putBack(taken, failedIn: stage) }
            throw error
        }
        metadata.withLock { $0.finish(taken, generation: readHolds.endGeneration()) }
        flushedChanges.store(seen, ordering: .sequentiallyConsistent)
        releaseRetired()
    }

    /// Waits for what was written; when that fails once, nothing is written any more.
    private func sync() throws(ImageError) {
        do throws(ImageError) { try file.sync() } catch {
            metadata.withLock { $0.failure = $0.failure ?? error }
            throw error
        }
    }

    /// Has the header name the new refcount table: 12 bytes of one sector. When that fails, it is not known which table
    /// the header names, and nothing is written any more.
    private func writeHeader(_ moved: (offset: UInt64, clusters: UInt32)) throws(ImageError) {
        var fields = ByteWriter(capacity: 12)
        fields.write(moved.offset, .big)
        fields.write(moved.clusters, .big)
        do throws(ImageError) {
            // Safe: integers have no bytes that are not set.
            unsafe try file.write(fields.bytes.span.bytes, at: HostOffset(48))
        } catch {
            metadata.withLock { $0.failure = $0.failure ?? error }
            throw error
        }
    }

    /// Writes pieces of tables; those that lie one after another together.
    private func write(_ pieces: [MetadataPiece]) throws(ImageError) {
        var gathered = MetadataPiece(offset: 0, words: [])
        for piece in pieces.sorted(by: { $0.offset < $1.offset }) {
            let end = gathered.offset + UInt64(gathered.words.count * 8)
            if piece.offset == end, gathered.words.count * 8 < Self.pieceLimit {
                gathered.words += piece.words
            } else {
                try write(gathered)
                gathered = piece
            }
        }
        try write(gathered)
    }

    private func write(_ piece: MetadataPiece) throws(ImageError) {
        guard !piece.words.isEmpty else { return }
        let bytes = encodeTable(piece.words, .big)
        // Safe: integers have no bytes that are not set.
        unsafe try file.write(bytes.span.bytes, at: HostOffset(piece.offset))
    }

    /// Counts down the clusters that were given up and that nothing on the disk leads to any more, and that no read
    /// goes on by which they may have been seen in use. Their space goes back to the host before they can be taken again.
    private func releaseRetired() {
        // Who closes the image waits for those that another thread counts down.
        releasing.withLock { _ in
            let first = readHolds.first
            let (released, unused) = metadata.withLock { $0.takeRetired(before: first) }
            for run in unused {
                // Where the host cannot, its space is not given back: nothing needs the zeros.
                try? file.zero(
                    UInt64(run.count) * format.clusterSize, at: HostOffset(run.lowerBound * format.clusterSize),
                    keepingSpace: false)
            }
            metadata.withLock { $0.countDown(released) }
        }
    }
}

extension Metadata {
    /// Takes what was given up in generations before `generation`, and tells which clusters of these nothing uses then.
    fileprivate mutating func takeRetired(
        before generation: UInt64
    ) -> (released: [UInt64: UInt64], unused: [Range<UInt64>]) {
        var released: [UInt64: UInt64] = [:]
        for batch in retired where batch.generation < generation { released.merge(batch.clusters) { $0 + $1 } }
        retired.removeAll { $0.generation < generation }
        var unused: [Range<UInt64>] = []
        for (cluster, count) in released.sorted(by: { $0.key < $1.key }) {
            guard (try? refcount(of: cluster)) == count else { continue }
            if let last = unused.last, last.upperBound == cluster {
                unused[unused.count - 1] = last.lowerBound..<cluster + 1
            } else {
                unused.append(cluster..<cluster + 1)
            }
        }
        return (released, unused)
    }

    /// Counts down, and has those clusters taken first that nothing uses any more. Where a refcount cannot be read, or is
    /// lower than the uses were, it stays: a leak.
    fileprivate mutating func countDown(_ released: [UInt64: UInt64]) {
        for (cluster, count) in released.sorted(by: { $0.key > $1.key }) {
            guard let old = try? refcount(of: cluster), old >= count,
                (try? setRefcount(of: cluster, to: old - count)) != nil
            else { continue }
            if old == count { reusable.append(cluster) }
        }
    }

    /// Cuts the file where nothing uses it any more, but not to less than `size`. Answers whether there was something to
    /// cut.
    fileprivate mutating func cutUnused(to size: UInt64) throws(ImageError) -> Bool {
        try checkIsSound()
        var end = unusedFrom
        while end * clusterSize > size, try refcount(of: end - 1) == 0 { end -= 1 }
        let newSize = max(end * clusterSize, size)
        guard newSize < fileEnd else { return false }
        try file.setSize(newSize)
        fileEnd = newSize
        unusedFrom = max(end, (newSize + clusterSize - 1) / clusterSize)
        return true
    }
}
