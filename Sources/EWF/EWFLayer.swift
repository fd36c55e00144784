import BlockImage
import ByteFormat
import Compression
import Synchronization

/// The disk of an EWF image. Immutable once open; every method may be called from any thread.
final class EWFLayer: ImageLayer {
    let volume: Volume
    let chunks: ChunkMap
    private let segments: [any HostFile]
    private let resources: LayerResources

    init(_ volume: Volume, _ chunks: ChunkMap, segments: [any HostFile], resources: LayerResources) {
        self.volume = volume
        self.chunks = chunks
        self.segments = segments
        self.resources = resources
    }

    deinit {
        for segment in segments {
            resources.tables.removeTables(of: segment.id)
            resources.clusters.removeClusters(of: segment.id)
        }
    }

    var virtualSize: UInt64 { volume.diskSize }
    var files: [any HostFile] { segments }
    var hostSize: UInt64 { segments.reduce(0) { $0.addingReportingOverflow($1.size).partialValue } }
    var granuleSize: UInt64 { volume.chunkSize }

    /// A part of one chunk: each is decoded by itself, and its check sum compared.
    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let number = start.rawValue / volume.chunkSize
        guard number < chunks.chunkCount else {
            throw ImageError(
                .corrupt, path: segments[0].path,
                "chunk \(number): the tables end before it, with \(counted(chunks.chunkCount, "chunk"))")
        }
        let chunk = try chunks.chunk(number)
        let rest = min(limit, virtualSize - start.rawValue)
        return Extent(
            start: start, count: min(rest, volume.chunkSize - start.rawValue % volume.chunkSize),
            storage: .encoded(
                chunk.isCompressed ? .compressed : .checked, file: chunk.file, offset: chunk.offset, count: chunk.count)
        )
    }

    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .encoded(let encoding, let file, let offset, let count) = extent.storage else {
            preconditionFailure("only an encoded extent is decoded")
        }
        let number = extent.start.rawValue / volume.chunkSize
        let chunk = Chunk(
            number: number, file: file, offset: offset, count: count, isCompressed: encoding == .compressed)
        // Two chunks may lie in one place: which of them it is says how many bytes it must have.
        try resources.clusters.read(
            Int(extent.count), skipping: Int(extent.start.rawValue % volume.chunkSize), of: Int(volume.chunkSize),
            encodedAt: offset, numbered: number, in: file, into: &output
        ) { whole throws(ImageError) in
            resources.counters.decompressions.add(1, ordering: .relaxed)
            _ = try decode(chunk, into: &whole)
        }
    }

    /// The bytes of the chunk `number` that the disk needs.
    func neededSize(_ number: UInt64) -> UInt64 {
        min(volume.chunkSize, virtualSize - min(virtualSize, number * volume.chunkSize))
    }

    /// Appends what `chunk` holds, a chunk's bytes at most, to `output`, and answers how many bytes that were: all of a
    /// chunk, and of the last one of the disk as many as that needs at least. Throws where they are fewer, or do not fit
    /// their check sum.
    func decode(_ chunk: Chunk, into output: inout OutputRawSpan) throws(ImageError) -> Int {
        let size = Int(volume.chunkSize)
        let input = AlignedBuffer(capacity: Int(chunk.count), alignment: 64)
        try input.fill(input.capacity) { bytes throws(ImageError) in
            try chunk.file.read(input.capacity, at: chunk.offset, into: &bytes)
        }
        func fault(_ message: String) -> ImageError {
            ImageError(.corrupt, path: chunk.file.path, offset: chunk.offset, "chunk \(chunk.number): \(message)")
        }
        var found = 0
        if chunk.isCompressed {
            do throws(DecompressionFault) {
                found = try Zlib.inflate(input.bytes, limit: size, into: &output)
            } catch {
                throw fault(error.message)
            }
        } else {
            guard chunk.count > 4, chunk.count - 4 <= UInt64(size) else {
                throw fault("has \(chunk.count) bytes, but must have 1 to \(size) and 4 of a check sum")
            }
            found = Int(chunk.count) - 4
            let data = input.bytes.extracting(0..<found)
            let stored = decodeTable(input.bytes.extracting(found..<found + 4), of: UInt32.self, .little).first ?? 0
            let sum = Adler32.value(of: data)
            guard stored == UInt64(sum) else {
                throw fault("check sum is \(hexadecimal(stored)), but that of its bytes is \(hexadecimal(sum))")
            }
            output.append(copying: data)
        }
        guard UInt64(found) >= neededSize(chunk.number) else {
            throw fault("has \(counted(found, "byte")) of the \(neededSize(chunk.number)) that the disk needs of it")
        }
        return found
    }

    /// Without its table all of its chunks are lost, without its entry a chunk.
    func lost(at start: GuestOffset, limit: UInt64) -> UInt64 {
        let number = start.rawValue / volume.chunkSize
        let limit = min(limit, virtualSize - start.rawValue)
        if number >= chunks.chunkCount { return limit }
        return min(limit, volume.chunkSize - start.rawValue % volume.chunkSize)
    }
}
