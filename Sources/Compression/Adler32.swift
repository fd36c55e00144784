import CDeflate

/// The check sum of zlib (RFC 1950, section 9), which EWF has for all of its structures as well.
public enum Adler32 {
    /// That of `bytes`.
    public static func value(of bytes: RawSpan) -> UInt32 {
        // Safe: the library gets the memory and its length, and keeps neither. Where there is no memory it gives 1, as for
        // no bytes.
        unsafe bytes.withUnsafeBytes { memory in unsafe libdeflate_adler32(1, memory.baseAddress, memory.count) }
    }

    /// That of `bytes`, which go on from those whose check sum is `value`.
    public static func value(of bytes: RawSpan, after value: UInt32) -> UInt32 {
        // Safe: as above; without memory there is nothing to go on with.
        unsafe bytes.withUnsafeBytes { memory in
            unsafe memory.isEmpty ? value : libdeflate_adler32(value, memory.baseAddress, memory.count)
        }
    }

    /// That of `bytes`.
    public static func value(of bytes: [UInt8]) -> UInt32 {
        // Safe: integers have no bytes that are not set.
        unsafe value(of: bytes.span.bytes)
    }
}
