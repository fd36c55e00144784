import CZlib

/// The check sum that protects a GPT: UEFI Specification 2.10, section 5.3.1. It is the one of zlib.
enum CRC32 {
    /// The check sum of `bytes`, of which a GPT has at most 4 MiB.
    static func of(_ bytes: [UInt8]) -> UInt32 {
        // Safe: zlib gets the memory and its length, and keeps neither.
        let sum = unsafe bytes.withUnsafeBufferPointer { unsafe crc32(0, $0.baseAddress, uInt(clamping: $0.count)) }
        return UInt32(truncatingIfNeeded: sum)
    }
}
