import CZstd

/// RFC 8878, as QCOW2 compresses clusters: one frame or several, with padding after them.
public enum Zstandard {
    /// Appends exactly `count` bytes, decompressed from the start of `input`, to `output`, which must have space for
    /// them.
    ///
    /// Bytes of `input` after the frame that completes them are passed over. Throws when the frames give fewer, do not
    /// end with the last byte wanted, or are damaged; nothing is appended then. May be called from any thread.
    public static func decompress(
        _ input: RawSpan, count: Int, into output: inout OutputRawSpan
    ) throws(DecompressionFault) {
        let context = Context.pool.take() ?? Context()
        defer { Context.pool.giveBack(context) }
        // Safe: the library is given the length of the input, and of the part of the free space that it may fill.
        try unsafe output.withUnsafeMutableBytes { space, initializedCount throws(DecompressionFault) in
            let target = unsafe UnsafeMutableRawBufferPointer(
                rebasing: space[initializedCount..<initializedCount + count])
            let fault = unsafe input.withUnsafeBytes { source in unsafe context.decompress(source, into: target) }
            if let fault { throw DecompressionFault(message: fault) }
            initializedCount += count
        }
    }

    /// A decompression context: 160 KiB that are worth keeping between clusters. Used by one thread at a time.
    @safe
    private final class Context: @unchecked Sendable {
        // Safe to send: it is either in the pool or with one borrower.
        static let pool = ContextPool<Context>()

        private let raw: OpaquePointer?

        init() {
            // Safe: freed in deinit only, and used by this object's borrower only.
            unsafe raw = ZSTD_createDCtx()
        }

        deinit {
            unsafe _ = ZSTD_freeDCtx(raw)
        }

        /// Fills the target, and answers why not where it cannot.
        ///
        /// Frame by frame, and each at once: so the output itself is the window, and a frame that claims a window of
        /// 128 MiB gets no memory for it.
        func decompress(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) -> String? {
            guard let raw = unsafe raw else { return "no memory for decompression" }
            var input = unsafe source[...]
            var output = unsafe target[...]
            while unsafe !output.isEmpty {
                let frame = unsafe UnsafeRawBufferPointer(rebasing: input)
                let size = unsafe ZSTD_findFrameCompressedSize(frame.baseAddress, frame.count)
                guard ZSTD_isError(size) == 0 else { return unsafe fault(size, output.count, of: target.count) }
                let space = unsafe UnsafeMutableRawBufferPointer(rebasing: output)
                let count = unsafe ZSTD_decompressDCtx(raw, space.baseAddress, space.count, frame.baseAddress, size)
                guard ZSTD_isError(count) == 0 else { return unsafe fault(count, output.count, of: target.count) }
                unsafe input = input.dropFirst(size)
                unsafe output = output.dropFirst(count)
            }
            return nil
        }

        private func fault(_ status: Int, _ missing: Int, of size: Int) -> String {
            let reason = unsafe String(cString: ZSTD_getErrorName(status))
            return "the zstd frames give \(size - missing) of \(size) bytes, and then: \(reason)"
        }
    }
}
