import BlockImage
import ByteFormat
import Compression
import Synchronization

/// How the grains of a streamOptimized extent are read: each is a zlib stream after a marker.
struct CompressedGrains: Sendable {
    /// The file.
    let file: any HostFile
    /// The size of the extent in bytes, at most 2^63 - 512.
    let capacity: UInt64
    /// The size of a grain in bytes, at most 2^22.
    let grainSize: UInt64
    let resources: LayerResources

    /// How the grain is stored whose marker is at `sector`, which must lie in the file.
    ///
    /// The marker, which alone says how many bytes it takes, is not read before the grain is: who asks for the map of
    /// a large disk does not want to read all of it. So `count` is the most that it can be: the marker and twice the
    /// grain, to the end of a sector, and not beyond the end of the file.
    func storage(atSector sector: UInt64) -> Extent.Storage {
        let start = sector * sectorSize
        let most = UInt64(StreamMarker.grainHeaderSize) + 2 * grainSize
        let rounded = (most + sectorSize - 1) / sectorSize * sectorSize
        return .encoded(
            .compressed, file: file, offset: HostOffset(start), count: min(rounded, file.size - start))
    }

    /// Appends `count` bytes, from byte `skip` on, of the grain `index`, whose marker is at `offset`.
    func decode(
        _ count: Int, skipping skip: Int, ofGrain index: UInt64, at offset: HostOffset,
        into output: inout OutputRawSpan
    ) throws(ImageError) {
        try resources.clusters.read(
            count, skipping: skip, of: Int(grainSize), encodedAt: offset, numbered: index, in: file, into: &output
        ) { grain throws(ImageError) in
            try inflate(index, at: offset, into: &grain)
        }
    }

    private func inflate(
        _ index: UInt64, at offset: HostOffset, into grain: inout OutputRawSpan
    ) throws(ImageError) {
        let size = try dataSize(ofGrain: index, at: offset)
        let data = AlignedBuffer(capacity: size)
        try data.fill(size) { output throws(ImageError) in
            try file.read(size, at: offset.advanced(by: UInt64(StreamMarker.grainHeaderSize)), into: &output)
        }
        resources.counters.decompressions.add(1, ordering: .relaxed)
        let count: Int
        do throws(DecompressionFault) {
            count = try Zlib.inflate(data.bytes, limit: Int(grainSize), into: &grain)
        } catch {
            throw ImageError(.corrupt, path: file.path, offset: offset, "grain \(index): \(error.message)")
        }
        // The disk may end inside its last grain; then the stream may end there, too.
        let needed = Int(min(grainSize, capacity - index * grainSize))
        guard count >= needed else {
            throw ImageError(
                .corrupt, path: file.path, offset: offset,
                "grain \(index): the zlib stream holds \(count) bytes, but must hold \(needed)")
        }
        grain.appendZeros(Int(grainSize) - count)
    }

    /// How many bytes the grain `index` takes after its marker at `offset`. They lie in the file.
    func dataSize(ofGrain index: UInt64, at offset: HostOffset) throws(ImageError) -> Int {
        let bytes = try file.bytes(StreamMarker.grainHeaderSize, at: offset, of: "grain marker")
        let marker: StreamMarker
        // The four bytes after it are the type of a metadata marker, which is none of a grain in any case.
        do throws(ParseFault) { marker = try StreamMarker(parsing: bytes + [0, 0, 0, 0]) } catch {
            throw file.corrupt(error)
        }
        guard case .grain(let lba, let size) = marker.kind else {
            throw ImageError(
                .corrupt, path: file.path, offset: offset, "grain marker: its size is 0, but must be that of a grain")
        }
        let expected = index * (grainSize / sectorSize)
        guard lba == expected else {
            throw ImageError(
                .corrupt, path: file.path, offset: offset,
                "grain marker: is that of the grain at sector \(lba) of the extent, but the grain table has it for "
                    + "the one at sector \(expected)")
        }
        guard size <= 2 * grainSize else {
            throw ImageError(
                .corrupt, path: file.path, offset: offset,
                "grain marker: its size is \(size), but must be at most \(2 * grainSize), twice the grain")
        }
        let end = offset.advanced(by: UInt64(StreamMarker.grainHeaderSize) + UInt64(size))
        guard end.rawValue <= file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: offset,
                "grain marker: its grain reaches to \(end), which must lie in the file, but that ends at "
                    + "\(HostOffset(file.size))")
        }
        return Int(size)
    }
}
