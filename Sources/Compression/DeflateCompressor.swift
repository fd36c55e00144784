import CDeflate

/// libdeflate's compressor of one level: half a megabyte that is worth keeping between clusters. Used by one thread at a
/// time.
///
/// Of 96 MB of files from /usr, in pieces of 64 KiB on one processor, made
///
///     zlib, window of 4 KiB, level 6 (QEMU)     27 MB/s   40.2 % of the size
///     ISA-L, window of 4 KiB, levels 1 to 3    322 to 146 MB/s   43.6 to 42.3 %
///     libdeflate, level 1                      146 MB/s   40.7 %
///     libdeflate, level 4                       74 MB/s   38.6 %
///     libdeflate, level 6                       55 MB/s   37.7 %
///
/// So it is libdeflate, whose window cannot be set: its streams refer back up to 32 KiB, as RFC 1951 allows and the
/// format does not forbid. QEMU, which itself writes with 4 KiB, reads them, and so does every reader that decodes a
/// cluster at once or with the window of RFC 1951; one that decodes with a window of 4 KiB, piece by piece, does not.
/// Of what keeps to such a window, nothing was fast that did not make more of it than QEMU.
@safe
final class DeflateCompressor: @unchecked Sendable {
    // Safe to send: it is either in the pool or with one borrower.
    private static let pool = ContextPool<DeflateCompressor>()

    private let raw: OpaquePointer?
    private let level: Int

    private init(level: Int) {
        self.level = level
        // Safe: freed in deinit only, and used by this object's borrower only. Nil for a level that there is not.
        unsafe raw = libdeflate_alloc_compressor(CInt(clamping: level))
    }

    deinit {
        unsafe libdeflate_free_compressor(raw)
    }

    /// One of the formats around a deflate stream, or none: compresses the input into the output, and answers how many
    /// bytes it took, or 0 where there is no space for them.
    typealias Call = (OpaquePointer?, UnsafeRawPointer?, Int, UnsafeMutableRawPointer?, Int) -> Int

    /// Appends what `call` makes of `input` to `output`, which must have space for `limit` bytes; answers false, with
    /// nothing appended, where it takes more than these, or there is no memory. May be called from any thread.
    static func compress(
        _ input: RawSpan, level: Int, limit: Int, into output: inout OutputRawSpan, with call: Call
    ) -> Bool {
        let compressor = pool.take { $0.level == level } ?? DeflateCompressor(level: level)
        defer { pool.giveBack(compressor) }
        guard unsafe compressor.raw != nil else { return false }
        // Safe: the library is given the length of the input, and of the part of the free space that it may fill.
        return unsafe output.withUnsafeMutableBytes { space, initializedCount in
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: space[initializedCount..<initializedCount + limit])
            let count = unsafe input.withUnsafeBytes { source in
                unsafe call(compressor.raw, source.baseAddress, source.count, target.baseAddress, target.count)
            }
            initializedCount += count
            return count > 0
        }
    }
}
