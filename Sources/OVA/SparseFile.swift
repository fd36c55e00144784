import BlockImage

/// A file that an archive stores without its holes, as it was before: holes read as zeros. Immutable; every method may be
/// called from any thread.
final class SparseFile: HostFile {
    /// The number of this opening.
    let id = HostFileID()
    /// The path it was opened by, for messages and for resolving names beside it: the name that it was given.
    let path: String
    /// Its size in bytes when it was opened: with its holes.
    var size: UInt64 { map.size }
    /// Which file it is: nil, because it is no file of the host.
    var identity: FileIdentity? { nil }
    /// Which files of the host its bytes lie in: the archive.
    var identities: Set<FileIdentity> { archive.identities }
    /// When its content last changed, as of opening: when the archive changed.
    var modified: FileTime { archive.modified }
    /// Whether its path still leads to this very file, unchanged since it was opened: whether the archive is unchanged.
    var isCurrent: Bool { archive.isCurrent }
    /// Whether the file that was opened has not been written to since, whatever its path leads to by now.
    var isUnchanged: Bool { archive.isUnchanged }
    /// Nil: no descriptor has its first byte at offset 0.
    var descriptor: CInt? { nil }
    /// The bytes it takes on the host's file system now: what is stored of it.
    let allocatedSize: UInt64

    private let archive: any HostFile
    private let map: SparseMap

    /// The file in `archive` that `map`, whose parts all lie in there, says.
    init(in archive: any HostFile, _ map: SparseMap, path: String) {
        self.archive = archive
        self.map = map
        self.path = path
        allocatedSize = map.storedSize
    }

    /// Appends exactly the `count` bytes at `offset` to `output`, which must have space for them.
    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        // Nothing can be read anywhere, as in any file.
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(clamping: count) <= size - offset.rawValue else {
            throw ImageError(
                .truncated, path: path, offset: offset,
                "\(count) bytes are wanted here, but the file ends at \(HostOffset(size))")
        }
        var position = offset.rawValue
        let end = position + UInt64(count)
        var index = segmentIndex(at: position)
        while position < end {
            let segment = index < map.segments.count ? map.segments[index] : nil
            // No step is longer than `count`, which is an Int.
            if let segment, segment.start <= position {
                let step = min(end, segment.end) - position
                let place = segment.place.advanced(by: position - segment.start)
                try archive.read(Int(step), at: place, into: &output)
                position += step
                index += 1
            } else {
                let step = min(end, segment?.start ?? end) - position
                output.appendZeros(Int(step))
                position += step
            }
        }
    }

    /// Tells the host that the `count` bytes at `offset` will be read soon, and does not wait for them.
    func willNeed(_ count: UInt64, at offset: HostOffset) {
        let index = segmentIndex(at: offset.rawValue)
        guard index < map.segments.count else { return }
        let segment = map.segments[index]
        let skipped = offset.rawValue - min(segment.start, offset.rawValue)
        archive.willNeed(min(count, segment.count - skipped), at: segment.place.advanced(by: skipped))
    }

    /// How the host keeps the bytes from `offset` on: whether they are a hole, and for how many bytes, at most `limit`,
    /// that stays so. A run ends where its part does; past the last there is nothing but a hole.
    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        let position = offset.rawValue
        let index = segmentIndex(at: position)
        guard index < map.segments.count else { return (true, limit) }
        let segment = map.segments[index]
        guard segment.start <= position else { return (true, min(limit, segment.start - position)) }
        return archive.run(
            at: segment.place.advanced(by: position - segment.start), limit: min(limit, segment.end - position))
    }

    /// The first part that ends after `position`.
    private func segmentIndex(at position: UInt64) -> Int {
        var low = 0
        var high = map.segments.count
        while low < high {
            let middle = (low + high) / 2
            if map.segments[middle].end > position { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
