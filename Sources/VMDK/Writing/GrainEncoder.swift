import BlockImage
import Compression
import Glibc

/// Compresses the grains of streamOptimized extents: each is a zlib stream (RFC 1950), which all readers take, though
/// Virtual Disk Format 5.0 speaks of RFC 1951.
///
/// Nothing else can be stored in such an extent: a grain that does not get smaller is a stream as well. Readers take up
/// to twice the grain.
struct GrainEncoder: UnitEncoder {
    /// How hard it tries: one of `NewVMDK.compressionLevels`.
    let level: Int
    /// The path of the image, for messages.
    let path: String

    /// A grain, whole also where the disk ends inside of it, as VirtualBox wants it.
    var unitSize: Int { Int(SparseHeader.newGrainSize * sectorSize) }

    /// The most bytes that `encode` appends.
    var encodedLimit: Int { Zlib.compressBound(unitSize) }

    /// Appends the compressed form of `unit` to `output`, which must have space for `encodedLimit` bytes. Throws `system`
    /// with ENOMEM.
    func encode(_ unit: RawSpan, into output: inout OutputRawSpan) throws(ImageError) -> Bool {
        guard Zlib.compress(unit, level: level, limit: encodedLimit, into: &output) else {
            throw ImageError(.system(errno: ENOMEM), path: path, "there is no memory to compress with")
        }
        return true
    }

    /// The encoded form of the grain that `bytes` begin; the rest of it is zeros. Throws `system` with ENOMEM.
    func encodedGrain(_ bytes: RawSpan) throws(ImageError) -> AlignedBuffer {
        let unit = AlignedBuffer(capacity: unitSize)
        unit.fill(unitSize) { output in
            output.append(copying: bytes)
            output.appendZeros(output.freeCapacity)
        }
        let encoded = AlignedBuffer(capacity: encodedLimit)
        _ = try encoded.fill(encodedLimit) { output throws(ImageError) in try encode(unit.bytes, into: &output) }
        return encoded
    }
}
