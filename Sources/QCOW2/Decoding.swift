import BlockImage
import Compression
import Encryption
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

/// Whole sectors of a file that one cipher decrypts: docs/interop/qcow2 "Data encryption".
struct EncryptedSectors {
    /// The most bytes that are decrypted at once.
    static let limit: UInt64 = 1 << 20

    var file: any HostFile
    /// Where they begin, and how many bytes they are; both multiples of 512.
    var offset: HostOffset
    var count: Int
    /// What the cipher calls the first of them.
    var firstNumber: UInt64

    /// Appends `wanted` of their bytes, from byte `skip` on.
    func decrypt(
        _ wanted: Int, skipping skip: Int, with cipher: SectorCipher, into output: inout OutputRawSpan
    ) throws(ImageError) {
        if skip == 0, wanted == count { return try decrypt(with: cipher, into: &output) }
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { sectors throws(ImageError) in try decrypt(with: cipher, into: &sectors) }
        output.append(copying: buffer.bytes.extracting(skip..<skip + wanted))
    }

    /// Reads all of them to the end of `output`, and decrypts them there.
    private func decrypt(with cipher: SectorCipher, into output: inout OutputRawSpan) throws(ImageError) {
        let start = output.byteCount
        try file.read(count, at: offset, into: &output)
        do throws(EncryptionFault) {
            // Safe: the slice is bounds-checked, all of it was just read, and the span does not outlive the closure.
            try unsafe output.withUnsafeMutableBytes { space, end throws(EncryptionFault) in
                let appended = unsafe UnsafeMutableRawBufferPointer(rebasing: space[start..<end])
                var sectors = unsafe appended.mutableBytes
                try cipher.decrypt(&sectors, firstSector: firstNumber)
            }
        } catch {
            throw ImageError(.unsupported, path: file.path, offset: offset, "encrypted sectors: \(error.message)")
        }
    }
}
