import CZlib
import CZstd

/// Makes compressed bytes, with the libraries that wrote the formats.
package enum Compressing {
    /// Raw deflate of `bytes`, which may refer back `1 << windowBits` bytes.
    package static func deflate(_ bytes: [UInt8], windowBits: Int32 = 12, level: Int32 = 6) -> [UInt8] {
        // zlib takes a window of negative bits for: without its header and check sum.
        stream(of: bytes, windowBits: -windowBits, level: level)
    }

    /// The zlib stream (RFC 1950) of `bytes`: deflate with a header and a check sum.
    package static func zlib(_ bytes: [UInt8], level: Int32 = 6) -> [UInt8] {
        stream(of: bytes, windowBits: 15, level: level)
    }

    private static func stream(of bytes: [UInt8], windowBits: Int32, level: Int32) -> [UInt8] {
        var stream = z_stream()
        let size = Int32(MemoryLayout<z_stream>.size)
        precondition(
            deflateInit2_(&stream, level, Z_DEFLATED, windowBits, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION, size) == Z_OK)
        defer { deflateEnd(&stream) }
        var input = bytes
        // zlib before 1.3 bounds stored blocks (level 0) too tightly.
        let bound = Int(deflateBound(&stream, UInt(bytes.count))) + bytes.count / 100 + 64
        var output = [UInt8](repeating: 0, count: bound)
        let capacity = output.count
        let left = input.withUnsafeMutableBufferPointer { input in
            output.withUnsafeMutableBufferPointer { output in
                stream.next_in = input.baseAddress
                stream.avail_in = UInt32(input.count)
                stream.next_out = output.baseAddress
                stream.avail_out = UInt32(output.count)
                precondition(CZlib.deflate(&stream, Z_FINISH) == Z_STREAM_END)
                return Int(stream.avail_out)
            }
        }
        return Array(output.prefix(capacity - left))
    }

    /// One zstd frame of `bytes`, with a check sum where it is asked for.
    package static func zstd(_ bytes: [UInt8], checksum: Bool = false, level: Int32 = 3) -> [UInt8] {
        let context = ZSTD_createCCtx()
        defer { ZSTD_freeCCtx(context) }
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum ? 1 : 0)
        var output = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
        let count = bytes.withUnsafeBytes { input in
            output.withUnsafeMutableBytes { output in
                ZSTD_compress2(context, output.baseAddress, output.count, input.baseAddress, input.count)
            }
        }
        precondition(ZSTD_isError(count) == 0)
        return Array(output.prefix(count))
    }
}
