import BlockImage

/// A file that an archive stores without its holes, as it was before: holes read as zeros. Immutable; every method may be
/// called from any thread.
final class SparseFile: HostFile {
    /// See `HostFile`.
    let id = HostFileID()
    /// See `HostFile`: the name that it was given.
    let path: String
    /// See `HostFile`: with its holes.
    var size: UInt64 { map.size }
    /// See `HostFile`: nil, because it is no file of the host.
    var identity: FileIdentity? { nil }
    /// See `HostFile`: the archive.
    var identities: Set<FileIdentity> { archive.identities }
    /// See `HostFile`: when the archive changed.
    var modified: FileTime { archive.modified }
    /// See `HostFile`: whether the archive is unchanged.
    var isCurrent: Bool { archive.isCurrent }
    /// See `HostFile`.
    var isUnchanged: Bool { archive.isUnchanged }
    /// See `HostFile`: nil.
    var descriptor: CInt? { nil }
    /// See `HostFile`: what is stored of it.
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

    /// See `HostFile`.
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

    /// See `HostFile`.
    func willNeed(_ count: UInt64, at offset: HostOffset) {
        let index = segmentIndex(at: offset.rawValue)
        guard index < map.segments.count else { return }
        let segment = map.segments[index]
        let skipped = offset.rawValue - min(segment.start, offset.rawValue)
        archive.willNeed(min(count, segment.count - skipped), at: segment.place.advanced(by: skipped))
    }

    /// See `HostFile`. A run ends where its part does; behind the last there is nothing but a hole.
    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        let position = offset.rawValue
        let index = segmentIndex(at: position)
        guard index < map.segments.count else { return (true, limit) }
        let segment = map.segments[index]
        guard segment.start <= position else { return (true, min(limit, segment.start - position)) }
        return archive.run(
            at: segment.place.advanced(by: position - segment.start), limit: min(limit, segment.end - position))
    }

    /// The first part that ends behind `position`.
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
