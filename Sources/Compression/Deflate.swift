import CDeflate
import CZlib

/// Why compressed bytes could not be decoded.
public struct DecompressionFault: Error, Hashable, Sendable {
    /// What is wrong, in the codec's terms.
    public var message: String
}

/// RFC 1951, as QCOW2 compresses clusters: no header, no check sum.
public enum Deflate {
    /// Appends exactly `count` bytes, inflated from the start of `input`, to `output`, which must have space for them.
    ///
    /// Bytes of `input` past the end of the stream are passed over: a QCOW2 cluster's length is given in sectors.
    /// A stream that holds more than `count` bytes, or is cut where it has given that many, is accepted as QEMU accepts
    /// it. Throws when it gives fewer or is damaged; nothing is appended then. May be called from any thread.
    public static func inflate(
        _ input: RawSpan, count: Int, into output: inout OutputRawSpan
    ) throws(DecompressionFault) {
        // Safe: both libraries are given the length of the input, and of the part of the free space that they may fill.
        let inflated = unsafe output.withUnsafeMutableBytes { space, initializedCount in
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: space[initializedCount..<initializedCount + count])
            let done = unsafe input.withUnsafeBytes { source in
                unsafe fast(source, into: target) || patient(source, into: target)
            }
            if done { initializedCount += count }
            return done
        }
        guard inflated else {
            throw DecompressionFault(message: "the deflate stream is damaged or gives fewer than \(count) bytes")
        }
    }

    /// How hard `compress` can try: the first level is the fastest, the last gives the shortest streams.
    public static let levels = 1...12

    /// Appends a stream of `input` to `output`, which must have space for `limit` bytes; answers false, with nothing
    /// appended, where the stream would be longer, or where there is no memory to make it.
    ///
    /// `level` is one of `levels`. The same input gives the same stream. May be called from any thread.
    public static func compress(
        _ input: RawSpan, level: Int, limit: Int, into output: inout OutputRawSpan
    ) -> Bool {
        unsafe DeflateCompressor.compress(
            input, level: level, limit: limit, into: &output, with: libdeflate_deflate_compress)
    }

    /// libdeflate, 2 to 3 times as fast as zlib; it wants the whole stream up to its final block.
    private static func fast(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Bool {
        guard let decompressor = unsafe libdeflate_alloc_decompressor() else { return false }
        defer { unsafe libdeflate_free_decompressor(decompressor) }
        // Without a place for the actual size it succeeds only when it fills the target.
        return unsafe libdeflate_deflate_decompress(
            decompressor, source.baseAddress, source.count, target.baseAddress, target.count, nil)
            == LIBDEFLATE_SUCCESS
    }

    /// zlib, for streams that go on, or are cut, after the bytes that are wanted. A window of 32 KiB: the format sets
    /// no smaller one, though QEMU writes with 4 KiB.
    private static func patient(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Bool {
        var stream = unsafe z_stream()
        let size = unsafe CInt(MemoryLayout<z_stream>.size)
        guard unsafe inflateInit2_(&stream, -15, ZLIB_VERSION, size) == Z_OK else { return false }
        defer { unsafe inflateEnd(&stream) }
        // zlib does not write to its input, though its type says so.
        unsafe stream.next_in = UnsafeMutablePointer(mutating: source.assumingMemoryBound(to: UInt8.self).baseAddress)
        unsafe stream.avail_in = UInt32(clamping: source.count)
        unsafe stream.next_out = target.assumingMemoryBound(to: UInt8.self).baseAddress
        unsafe stream.avail_out = UInt32(clamping: target.count)
        let status = unsafe CZlib.inflate(&stream, Z_FINISH)
        return unsafe (status == Z_STREAM_END || status == Z_BUF_ERROR) && stream.avail_out == 0
    }
}
