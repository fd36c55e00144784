import BlockImage
import Compression
import Synchronization

extension ClusterSource {
    /// Appends `wanted` bytes, from byte `skip` on, of the compressed cluster that lies in the `count` bytes at
    /// `offset`.
    func inflate(
        _ wanted: Int, skipping skip: Int, from offset: HostOffset, count: UInt64, into output: inout OutputRawSpan
    ) throws(ImageError) {
        try resources.clusters.read(
            wanted, skipping: skip, of: Int(format.clusterSize), encodedAt: offset, in: file, into: &output
        ) { cluster throws(ImageError) in
            try inflate(count, at: offset, into: &cluster)
        }
    }

    private func inflate(
        _ count: UInt64, at offset: HostOffset, into cluster: inout OutputRawSpan
    ) throws(ImageError) {
        guard offset.rawValue < file.size else { throw beyondEnd(of: file, offset, "a compressed cluster") }
        // The length is given in sectors, and the last one need not be there: the file may end with the stream.
        let input = AlignedBuffer(capacity: Int(min(count, file.size - offset.rawValue)))
        try input.fill(input.capacity) { output throws(ImageError) in
            try file.read(input.capacity, at: offset, into: &output)
        }
        resources.counters.decompressions.add(1, ordering: .relaxed)
        let size = Int(format.clusterSize)
        do throws(DecompressionFault) {
            if header.compressionType == 0 {
                try Deflate.inflate(input.bytes, count: size, into: &cluster)
            } else {
                try Zstandard.decompress(input.bytes, count: size, into: &cluster)
            }
        } catch {
            throw ImageError(.corrupt, path: file.path, offset: offset, "compressed cluster: \(error.message)")
        }
    }
}
