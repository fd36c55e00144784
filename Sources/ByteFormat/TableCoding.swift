/// Decodes a whole table of `Stored` integers into 64-bit entries; bytes after the last whole entry are left out.
///
/// This is the hot loop of every table load, so it is one byte-swapping pass over the bytes.
@inlinable
public func decodeTable<Stored: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>(
    _ bytes: RawSpan, of type: Stored.Type, _ order: ByteOrder
) -> [UInt64] {
    let size = MemoryLayout<Stored>.size
    let count = bytes.byteCount / size
    // Safe: every element below `count` is initialized, once.
    return unsafe [UInt64](unsafeUninitializedCapacity: count) { entries, initializedCount in
        for index in 0..<count {
            // Safe: index * size + size <= bytes.byteCount, and any bit pattern is a valid integer.
            let stored = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: index &* size, as: Stored.self)
            unsafe entries[index] = UInt64(order == .big ? Stored(bigEndian: stored) : Stored(littleEndian: stored))
        }
        initializedCount = count
    }
}

/// The bytes of a table of `entries`, in `order`.
public func encodeTable<Stored: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>(
    _ entries: some Collection<Stored>, _ order: ByteOrder
) -> [UInt8] {
    let size = MemoryLayout<Stored>.size
    // Safe: every element below the count is initialized, once.
    return unsafe [UInt8](unsafeUninitializedCapacity: entries.count * size) { bytes, initializedCount in
        let bytes = UnsafeMutableRawBufferPointer(bytes)
        for entry in entries {
            let stored = order == .big ? entry.bigEndian : entry.littleEndian
            // Checked against the end of the buffer.
            unsafe bytes.storeBytes(of: stored, toByteOffset: initializedCount, as: Stored.self)
            initializedCount += size
        }
    }
}
