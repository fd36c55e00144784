import BlockImage

/// Whole sectors of a file that one cipher decrypts: docs/interop/qcow2 "Data encryption".
public struct EncryptedSectors {
    /// The most bytes that are decrypted at once.
    public static let limit: UInt64 = 1 << 20

    private let file: any HostFile
    private let offset: HostOffset
    private let count: Int
    private let firstNumber: UInt64

    /// The `count` bytes at `offset` of `file`, both multiples of 512, of which the cipher calls the first sector
    /// `firstNumber`.
    public init(file: any HostFile, offset: HostOffset, count: Int, firstNumber: UInt64) {
        self.file = file
        self.offset = offset
        self.count = count
        self.firstNumber = firstNumber
    }

    /// Appends `wanted` of their bytes, from byte `skip` on.
    public func decrypt(
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
