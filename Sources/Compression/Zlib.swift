import CDeflate

/// RFC 1950, which is RFC 1951 with a header and a check sum around it, as VMDK compresses grains.
public enum Zlib {
    /// Appends all that the stream at the start of `input` holds, at most `limit` bytes, to `output`, which must have
    /// space for that many; answers how many bytes they were.
    ///
    /// A bare stream of RFC 1951 is accepted too: VMware's own document speaks of one. Bytes of `input` past the end
    /// of the stream are passed over. Throws when the stream is damaged, cut or holds more; nothing is appended then.
    /// May be called from any thread.
    ///
    /// libdeflate alone decodes it: unlike a QCOW2 cluster, a grain is a whole stream, and that it takes if zlib does.
    public static func inflate(
        _ input: RawSpan, limit: Int, into output: inout OutputRawSpan
    ) throws(DecompressionFault) -> Int {
        // Safe: the library is given the length of the input, and of the part of the free space that it may fill.
        let inflated: Int? = unsafe output.withUnsafeMutableBytes { space, initializedCount in
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: space[initializedCount..<initializedCount + limit])
            let count = unsafe input.withUnsafeBytes { source in unsafe inflate(source, into: target) }
            initializedCount += count ?? 0
            return count
        }
        guard let inflated else {
            throw DecompressionFault(message: "the zlib stream is damaged, is cut or holds more than \(limit) bytes")
        }
        return inflated
    }

    /// The most bytes that the stream of `count` bytes has, at any level: a little more than they are themselves.
    public static func compressBound(_ count: Int) -> Int {
        libdeflate_zlib_compress_bound(nil, count)
    }

    /// Appends a stream of `input`, with header and check sum, to `output`, which must have space for `limit` bytes;
    /// answers false, with nothing appended, where the stream would be longer, or where there is no memory to make it.
    ///
    /// `level` is one of `Deflate.levels`. The same input gives the same stream. May be called from any thread.
    public static func compress(
        _ input: RawSpan, level: Int, limit: Int, into output: inout OutputRawSpan
    ) -> Bool {
        unsafe DeflateCompressor.compress(
            input, level: level, limit: limit, into: &output, with: libdeflate_zlib_compress)
    }

    /// How many bytes of the target the stream fills; nil where it is none.
    private static func inflate(
        _ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) -> Int? {
        guard let decompressor = unsafe libdeflate_alloc_decompressor() else { return nil }
        defer { unsafe libdeflate_free_decompressor(decompressor) }
        var count = 0
        if unsafe libdeflate_zlib_decompress(
            decompressor, source.baseAddress, source.count, target.baseAddress, target.count, &count)
            == LIBDEFLATE_SUCCESS
        {
            return count
        }
        return unsafe libdeflate_deflate_decompress(
            decompressor, source.baseAddress, source.count, target.baseAddress, target.count, &count)
            == LIBDEFLATE_SUCCESS ? count : nil
    }
}
