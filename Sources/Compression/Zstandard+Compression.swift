import CZstd

extension Zstandard {
    /// How hard `compress` can try: the first level is the fastest, the last gives the shortest frames.
    public static let levels = 1...19

    /// Appends one frame of `input`, without a check sum, to `output`, which must have space for `limit` bytes; answers
    /// false, with nothing appended, where the frame would be longer, or where there is no memory to make it.
    ///
    /// `level` is one of `levels`. The same input gives the same frame. May be called from any thread.
    public static func compress(
        _ input: RawSpan, level: Int, limit: Int, into output: inout OutputRawSpan
    ) -> Bool {
        let compressor = Compressor.pool.take { $0.level == level } ?? Compressor(level: level)
        defer { Compressor.pool.giveBack(compressor) }
        // Safe: the library is given the length of the input, and of the part of the free space that it may fill.
        return unsafe output.withUnsafeMutableBytes { space, initializedCount in
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: space[initializedCount..<initializedCount + limit])
            let count = unsafe input.withUnsafeBytes { source in unsafe compressor.compress(source, into: target) }
            initializedCount += count ?? 0
            return count != nil
        }
    }

    /// A compression context of one level, whose tables are worth keeping between clusters. Used by one thread at a time.
    @safe
    private final class Compressor: @unchecked Sendable {
        // Safe to send: it is either in the pool or with one borrower.
        static let pool = ContextPool<Compressor>()

        let level: Int
        private let raw: OpaquePointer?

        init(level: Int) {
            self.level = level
            // Safe: freed in deinit only, and used by this object's borrower only.
            unsafe raw = ZSTD_createCCtx()
            if let raw = unsafe raw {
                unsafe _ = ZSTD_CCtx_setParameter(raw, ZSTD_c_compressionLevel, CInt(clamping: level))
            }
        }

        deinit {
            unsafe _ = ZSTD_freeCCtx(raw)
        }

        /// How many bytes of the target the frame takes; nil where it does not fit.
        func compress(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> Int? {
            guard let raw = unsafe raw else { return nil }
            let count = unsafe ZSTD_compress2(
                raw, target.baseAddress, target.count, source.baseAddress, source.count)
            return ZSTD_isError(count) == 0 ? count : nil
        }
    }
}
