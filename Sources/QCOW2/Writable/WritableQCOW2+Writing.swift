import BlockImage
import Synchronization

extension WritableQCOW2 {
    /// How many pages of metadata may wait to be written: 8 MiB. A request that finds more of them has them written first.
    static let dirtyPageLimit = 2048
    /// How many clusters that were given up may wait for that, which are some 3 MiB in memory: 4 GiB of 64 KiB.
    private static let freedLimit = 1 << 16
    /// The most bytes that are copied to be written together with what surrounds them.
    private static let gatheredLimit: UInt64 = 256 << 10
    /// Zeros, to be written where no flag says them.
    private static let zeros = [UInt8](repeating: 0, count: 64 << 10)

    /// Has the disk hold `bytes` at `start`: in place where a host cluster is the disk's own, else in new clusters.
    public func write(_ bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        let range = try changed(UInt64(bytes.byteCount), at: start)
        guard !range.isEmpty else { return }
        defer { changes.add(1, ordering: .sequentiallyConsistent) }
        if try writeInPlace(bytes, range) { return }
        let hold = clusterHolds.take(clusters(of: range), isShared: false)
        defer { clusterHolds.giveBack(hold) }
        try write(bytes, held: range, isAlone: isFlushed)
    }

    /// Has the `count` bytes at `start` read as zeros: by the flags of version 3, and by zeros where these are for more.
    public func zero(_ count: UInt64, at start: GuestOffset, mayUnmap: Bool) throws(ImageError) {
        try zero(count, at: start, mayUnmap: mayUnmap, writesParts: true)
    }

    /// Has what of the bytes fills subclusters, or clusters, read as zeros, and gives its space back.
    public func discard(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
        try zero(count, at: start, mayUnmap: true, writesParts: false)
    }

    private func zero(
        _ count: UInt64, at start: GuestOffset, mayUnmap: Bool, writesParts: Bool
    ) throws(ImageError) {
        let range = try changed(count, at: start)
        guard !range.isEmpty else { return }
        defer { changes.add(1, ordering: .sequentiallyConsistent) }
        let hold = clusterHolds.take(clusters(of: range), isShared: false)
        defer { clusterHolds.giveBack(hold) }
        var position = range.lowerBound
        while position < range.upperBound {
            try limitChanges()
            let hasBelow = below.map { $0.virtualSize > 0 } ?? false
            let step = try metadata.withLock { metadata throws(ImageError) in
                try metadata.zero(
                    at: position, upTo: range.upperBound, diskEnd: virtualSize, hasBelow: hasBelow, mayUnmap: mayUnmap)
            }
            switch step {
            case .done(let count): position += count
            case .part(let count):
                if writesParts { try writeZeros(position..<position + count) }
                position += count
            }
        }
    }

    /// Writes zeros to clusters that this request has alone, unless they read as zeros.
    private func writeZeros(_ range: Range<UInt64>) throws(ImageError) {
        guard (try? isHole(range)) != true else { return }
        var position = range.lowerBound
        while position < range.upperBound {
            let count = min(range.upperBound - position, UInt64(Self.zeros.count))
            // Safe: integers have no bytes that are not set.
            unsafe try write(
                Self.zeros.span.bytes.extracting(first: Int(count)), held: position..<position + count, isAlone: false)
            position += count
        }
    }

    /// The bytes of the disk that a request is for. Throws `outOfRange` where they do not lie inside of it, and why nothing
    /// can be written, if that is so.
    private func changed(_ count: UInt64, at start: GuestOffset) throws(ImageError) -> Range<UInt64> {
        guard start.rawValue <= virtualSize, count <= virtualSize - start.rawValue else {
            throw ImageError(
                .outOfRange, about: .disk, "\(count) bytes at \(start) are not in the disk, which has \(virtualSize)")
        }
        try metadata.withLock { metadata throws(ImageError) in
            try metadata.checkIsSound()
            try metadata.clearAutoclearFeatures()
            try metadata.completeLastCluster()
        }
        try limitChanges()
        return start.rawValue..<start.rawValue + count
    }

    /// Has changes of the tables written where they are many: those of this request, too, which no flush counts yet.
    private func limitChanges() throws(ImageError) {
        let areMany = metadata.withLock { metadata in
            metadata.pages.dirty.count > Self.dirtyPageLimit || metadata.freed.count > Self.freedLimit
        }
        if areMany { try runFlush() }
    }

    private func clusters(of range: Range<UInt64>) -> Range<UInt64> {
        range.lowerBound / format.clusterSize..<(range.upperBound - 1) / format.clusterSize + 1
    }

    /// Writes all of `bytes` in place, together with others who do; answers false where that cannot be, and then some may
    /// have been written.
    private func writeInPlace(_ bytes: RawSpan, _ range: Range<UInt64>) throws(ImageError) -> Bool {
        guard try ownData(at: range.lowerBound, upTo: range.upperBound) != nil else { return false }
        let hold = clusterHolds.take(clusters(of: range), isShared: true)
        defer { clusterHolds.giveBack(hold) }
        var position = range.lowerBound
        while position < range.upperBound {
            guard let found = try ownData(at: position, upTo: range.upperBound) else { return false }
            let first = Int(position - range.lowerBound)
            try file.write(bytes.extracting(first..<first + Int(found.count)), at: found.host)
            position += found.count
        }
        return true
    }

    private func ownData(at position: UInt64, upTo end: UInt64) throws(ImageError) -> (host: HostOffset, count: UInt64)?
    {
        try metadata.withLock { metadata throws(ImageError) in try metadata.ownData(at: position, upTo: end) }
    }

    /// Writes `bytes` to clusters that this request has alone. `isAlone`: a flush probably waits for nothing else.
    private func write(_ bytes: RawSpan, held range: Range<UInt64>, isAlone: Bool) throws(ImageError) {
        var position = range.lowerBound
        while position < range.upperBound {
            let step = try metadata.withLock { metadata throws(ImageError) in
                try metadata.planWrite(at: position, upTo: range.upperBound, fillsUp: isAlone)
            }
            let first = Int(position - range.lowerBound)
            switch step {
            case .inPlace(let host, let count):
                try file.write(bytes.extracting(first..<first + Int(count)), at: host)
                position += count
            case .placed(var placement):
                let count = placement.data.count
                do throws(ImageError) {
                    if isAlone { replaceZeros(&placement) }
                    try fill(&placement, bytes.extracting(first..<first + count))
                    try metadata.withLock { metadata throws(ImageError) in try metadata.publish(placement) }
                } catch {
                    metadata.withLock { $0.undo(placement) }
                    throw error
                }
                position += UInt64(count)
            }
        }
    }

    /// Writes `bytes` to a placement, and around them what the disk has there now; where that cannot be read or written, no more
    /// of it than is needed.
    private func fill(_ placement: inout Placement, _ bytes: RawSpan) throws(ImageError) {
        do throws(ImageError) {
            try fill(placement, bytes)
        } catch {
            guard placement.filled != placement.needed, !placement.replacesZeros else { throw error }
            placement.filled = placement.needed
            try fill(placement, bytes)
        }
    }

    private func fill(_ placement: Placement, _ bytes: RawSpan) throws(ImageError) {
        let (data, guest) = (placement.data, placement.guest)
        var head = placement.filled.lowerBound..<data.lowerBound
        var tail = data.upperBound..<placement.filled.upperBound
        if placement.replacesZeros {
            (head, tail) = (data.lowerBound..<data.lowerBound, data.upperBound..<data.upperBound)
        } else if placement.isUnused {
            // The host has zeros there already.
            if try readsAsZeros(head, from: guest) { head = data.lowerBound..<data.lowerBound }
            if try readsAsZeros(tail, from: guest) { tail = data.upperBound..<data.upperBound }
        }
        let start = HostOffset(placement.host + head.lowerBound)
        guard !head.isEmpty || !tail.isEmpty else { return try file.write(bytes, at: start) }
        let isGathered = UInt64(head.count + data.count + tail.count) <= Self.gatheredLimit
        let buffer = AlignedBuffer(capacity: head.count + tail.count + (isGathered ? data.count : 0))
        try buffer.fill(buffer.capacity) { output throws(ImageError) in
            try read(head, from: guest, into: &output)
            if isGathered { output.append(copying: bytes) }
            try read(tail, from: guest, into: &output)
        }
        if isGathered { return try file.write(buffer.bytes, at: start) }
        try file.write(buffer.bytes.extracting(0..<head.count), at: start)
        try file.write(bytes, at: HostOffset(placement.host + data.lowerBound))
        try file.write(
            buffer.bytes.extracting(head.count..<buffer.count), at: HostOffset(placement.host + tail.lowerBound))
    }
}

/// What the disk has now, for what is written around changes.
extension WritableQCOW2 {
    /// The disk as it is. Not kept: it would keep this layer.
    private var disk: Image { Image(layer: self, backing: below) }

    /// Notes where the disk reads as zeros what `placement` fills, as its host clusters do: no barrier is needed then between the
    /// data and the tables. Where it reads as zeros in the whole cluster, all of that is filled.
    private func replaceZeros(_ placement: inout Placement) {
        guard placement.isUnused, placement.replaced == nil else { return }
        let whole = 0..<UInt64(placement.clusters) * format.clusterSize
        for range in placement.filled == whole ? [whole] : [whole, placement.filled] {
            // What cannot be read is none: a write that covers it need not read it.
            guard (try? isHole(range, from: placement.guest)) == true else { continue }
            (placement.filled, placement.replacesZeros) = (range, true)
            return
        }
    }

    /// Whether the bytes `range` of the disk, counted from `guest`, read as zeros without being stored; past its end, they do.
    private func isHole(_ range: Range<UInt64>, from guest: UInt64 = 0) throws(ImageError) -> Bool {
        var runs = DiskRuns(of: disk, to: guest + range.upperBound)
        var position = guest + range.lowerBound
        while position < guest + range.upperBound {
            let run = runs.splitAtHoles(try runs.run(at: position, limit: guest + range.upperBound - position))
            guard run.isZeros else { return false }
            position = run.end
        }
        return true
    }

    /// Whether the bytes `range` of the disk, counted from `guest`, are known to read as zeros.
    private func readsAsZeros(_ range: Range<UInt64>, from guest: UInt64) throws(ImageError) -> Bool {
        let disk = disk
        var position = guest + range.lowerBound
        let end = min(guest + range.upperBound, virtualSize)
        while position < end {
            let run = try disk.resolve(at: GuestOffset(position), limit: end - position)
            guard run.isZeros else { return false }
            position += run.count
        }
        return true
    }

    /// Appends the bytes `range` of the disk, counted from `guest`; zeros for what lies past its end.
    private func read(
        _ range: Range<UInt64>, from guest: UInt64, into output: inout OutputRawSpan
    ) throws(ImageError) {
        let start = guest + range.lowerBound
        let end = min(guest + range.upperBound, virtualSize)
        let inside = start < end ? Int(end - start) : 0
        if inside > 0 { try disk.read(inside, at: GuestOffset(start), into: &output) }
        output.appendZeros(range.count - inside)
    }
}
