import BlockImage
import ClusterMap
import Compression
import Encryption
import Synchronization

/// Inflates the compressed clusters of a QCOW image of version 1, and decrypts the others where it is encrypted.
struct QCOW1Decoder: ClusterDecoder {
    let file: any HostFile
    let clusterSize: Int
    /// Nil where the image is not encrypted.
    let cipher: SectorCipher?
    let resources: LayerResources

    var decrypts: Bool { cipher != nil }

    func decode(_ extent: Extent, into output: inout OutputRawSpan) throws(ImageError) {
        guard case .encoded(let encoding, let file, let offset, let count) = extent.storage else {
            preconditionFailure("only an encoded extent is decoded")
        }
        let start = extent.start.rawValue
        if encoding == .encrypted, let cipher {
            // The cipher counts the sectors of the disk.
            let sectors = EncryptedSectors(
                file: file, offset: offset, count: Int(count), firstNumber: start / 512)
            return try sectors.decrypt(
                Int(extent.count), skipping: Int(start % 512), with: cipher, into: &output)
        }
        try resources.clusters.read(
            Int(extent.count), skipping: Int(start % UInt64(clusterSize)), of: clusterSize, encodedAt: offset, in: file,
            into: &output
        ) { cluster throws(ImageError) in
            try inflate(count, at: offset, into: &cluster)
        }
    }

    private func inflate(
        _ count: UInt64, at offset: HostOffset, into cluster: inout OutputRawSpan
    ) throws(ImageError) {
        guard offset.rawValue < file.size else {
            throw ImageError(
                .truncated, path: file.path, offset: offset,
                "a compressed cluster lies past the end of the file at \(HostOffset(file.size))")
        }
        let input = AlignedBuffer(capacity: Int(min(count, file.size - offset.rawValue)))
        try input.fill(input.capacity) { output throws(ImageError) in
            try file.read(input.capacity, at: offset, into: &output)
        }
        resources.counters.decompressions.add(1, ordering: .relaxed)
        do throws(DecompressionFault) {
            try Deflate.inflate(input.bytes, count: clusterSize, into: &cluster)
        } catch {
            throw ImageError(.corrupt, path: file.path, offset: offset, "compressed cluster: \(error.message)")
        }
    }
}
