/// The splitter of LUKS, which blows a key up so that a disk that loses a part of it has lost the key (LUKS1, "AF").
enum AntiForensic {
    /// Puts together the key of `keySize` bytes from the first `stripes` times as many bytes of `split`.
    static func merge(
        _ split: borrowing WipedBytes, keySize: Int, stripes: Int, hash: HashAlgorithm
    ) throws(EncryptionFault) -> WipedBytes {
        var key = WipedBytes(zeros: keySize)
        var digest = WipedBytes(zeros: hash.size)
        var context = try DigestContext(hash)
        for stripe in 0..<stripes {
            if stripe > 0 { try diffuse(&key, &context, &digest) }
            for index in 0..<keySize { key[index] ^= split[stripe * keySize + index] }
        }
        return key
    }

    /// Replaces every run of a digest's size by the hash of its number, big-endian, and itself; the last may be cut.
    private static func diffuse(
        _ key: inout WipedBytes, _ context: inout DigestContext, _ digest: inout WipedBytes
    ) throws(EncryptionFault) {
        for start in stride(from: 0, to: key.count, by: context.size) {
            let end = min(start + context.size, key.count)
            // A key has at most 64 bytes, so that the number fits into the last of its four.
            try context.hash(
                [0, 0, 0, UInt8(start / context.size)], key.bytes.extracting(start..<end), into: &digest)
            for index in start..<end { key[index] = digest[index - start] }
        }
    }
}
