import BlockImage
import CZstd

/// RFC 8878, as QCOW2 compresses clusters: one frame or several, padded behind.
public enum Zstandard {
    /// Appends exactly `count` bytes, decompressed from the start of `input`, to `output`, which must have room for them.
    ///
    /// Bytes of `input` behind the frame that completes them are passed over. Throws when the frames give fewer, do not
    /// end with the last byte wanted, or are damaged; nothing is appended then. May be called from any thread.
    public static func decompress(
        _ input: RawSpan, count: Int, into output: inout OutputRawSpan
    ) throws(DecompressionFault) {
        let context = Context.take()
        defer { Context.giveBack(context) }
        // Safe: the library is given the length of the input, and of the part of the free room that it may fill.
        try unsafe output.withUnsafeMutableBytes { room, initializedCount throws(DecompressionFault) in
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: room[initializedCount..<initializedCount + count])
            let fault = unsafe input.withUnsafeBytes { source in unsafe context.decompress(source, into: target) }
            if let fault { throw DecompressionFault(message: fault) }
            initializedCount += count
        }
    }

    /// A decompression context: 160 KiB that are worth keeping between clusters. Used by one thread at a time.
    @safe
    private final class Context: @unchecked Sendable {
        // Safe to send: it is either in the pool or with one borrower.
        private static let pool = Guarded<[Context]>([])
        private static let limit = 8

        private let raw: OpaquePointer?

        private init() {
            // Safe: freed in deinit only, and used by this object's borrower only.
            unsafe raw = ZSTD_createDCtx()
        }

        deinit {
            unsafe _ = ZSTD_freeDCtx(raw)
        }

        static func take() -> Context {
            pool.withLock { $0.popLast() } ?? Context()
        }

        static func giveBack(_ context: Context) {
            pool.withLock { if $0.count < limit { $0.append(context) } }
        }

        /// Fills the target, and answers why not where it cannot.
        func decompress(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> String? {
            guard let raw = unsafe raw else { return "no memory for decompression" }
            unsafe _ = ZSTD_DCtx_reset(raw, ZSTD_reset_session_only)
            var input = unsafe ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
            var output = unsafe ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
            while true {
                let before = unsafe (input.pos, output.pos)
                let status = unsafe ZSTD_decompressStream(raw, &output, &input)
                if ZSTD_isError(status) != 0 {
                    return unsafe "the zstd frame is damaged: \(String(cString: ZSTD_getErrorName(status)))"
                }
                // 0: a frame has ended. Another may follow as long as bytes are wanted.
                if unsafe status == 0 && output.pos == output.size { return nil }
                if unsafe (input.pos, output.pos) == before {
                    return unsafe "the zstd frames give \(output.pos) of \(output.size) bytes, or do not end with them"
                }
            }
        }
    }
}
