import CDeflate

/// The check sum CRC-32 of gzip and zlib (RFC 1952, section 8), which also protects a GPT (UEFI Specification 2.10,
/// section 5.3.1).
public struct CRC32: Hashable, Sendable {
    /// The check sum of all bytes so far.
    public private(set) var value: UInt32 = 0

    /// That of no bytes.
    public init() {}

    /// That of bytes whose sum is `value`, to go on with.
    public init(continuing value: UInt32) {
        self.value = value
    }

    /// That of `bytes`.
    public init(of bytes: [UInt8]) {
        update(bytes)
    }

    /// Goes on with `bytes`.
    public mutating func update(_ bytes: RawSpan) {
        // Safe: the library gets the memory and its length, and keeps neither. Where there is no memory it would begin
        // anew.
        unsafe bytes.withUnsafeBytes { memory in
            if let start = memory.baseAddress {
                value = unsafe libdeflate_crc32(value, start, memory.count)
            }
        }
    }

    /// Goes on with `bytes`.
    public mutating func update(_ bytes: [UInt8]) {
        // Safe: integers have no bytes that are not set.
        unsafe update(bytes.span.bytes)
    }
}
