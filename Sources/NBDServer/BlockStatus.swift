import BlockImage
import Catalog
import FormatCore
import ImageFormats
import NIOCore

/// What one context says of a range: the NBD protocol, NBD_REPLY_TYPE_BLOCK_STATUS.
struct BlockStatus: Hashable {
    /// A run of bytes with one status.
    struct Descriptor: Hashable {
        var length: UInt64
        /// What it means is for the context to say.
        var flags: UInt64
    }

    /// The most descriptors of one answer, of all contexts: who wants more asks again for what comes behind them.
    static let descriptorLimit = 1 << 16
    /// The most runs of the disk that are looked at for one answer.
    private static let runLimit = 1 << 18

    /// NBD_STATE_HOLE of `base:allocation`.
    private static let hole: UInt64 = 1 << 0
    /// NBD_STATE_ZERO of `base:allocation`.
    private static let zero: UInt64 = 1 << 1
    /// The bit of a bitmap.
    private static let dirty: UInt64 = 1 << 0

    /// From the start of the range on, without gaps.
    private(set) var descriptors: [Descriptor] = []

    /// The status of the `count` bytes from `start` on, which lie in the export: of all of them, or of as many as `limit`
    /// descriptors tell; at least of one byte. Throws what damaged metadata throws right at the start; damage behind that
    /// ends the answer.
    init(
        _ context: MetaContext, of export: Export, _ count: UInt64, at start: UInt64, limit: Int
    ) throws(ImageError) {
        switch context {
        case .allocation:
            try addRuns(of: export, count, at: start, limit) { run in
                (run.data ? 0 : Self.hole) | (run.zero ? Self.zero : 0)
            }
        case .allocationDepth:
            try addRuns(of: export, count, at: start, limit) { $0.present ? UInt64($0.depth) + 1 : 0 }
        case .dirtyBitmap(let bitmap): try addDirty(bitmap, of: export, count, at: start, limit)
        }
    }

    /// Adds what comes next; false once no more fits.
    private mutating func add(_ length: UInt64, _ flags: UInt64, _ limit: Int) -> Bool {
        if let last = descriptors.last, last.flags == flags {
            descriptors[descriptors.count - 1].length += length
            return true
        }
        guard descriptors.count < limit else { return false }
        descriptors.append(Descriptor(length: length, flags: flags))
        return true
    }

    private mutating func addRuns(
        of export: Export, _ count: UInt64, at start: UInt64, _ limit: Int, flags: (MapEntry) -> UInt64
    ) throws(ImageError) {
        var map = DiskMap(export.image, from: start, count: count)
        for _ in 0..<Self.runLimit {
            do throws(ImageError) {
                guard let run = try map.next(), add(run.length, flags(run), limit) else { return }
            } catch {
                guard descriptors.isEmpty else { return }
                throw error
            }
        }
    }

    private mutating func addDirty(
        _ bitmap: DirtyBitmap, of export: Export, _ count: UInt64, at start: UInt64, _ limit: Int
    ) throws(ImageError) {
        let end = start + count
        var ranges = try export.dirtyRanges(of: bitmap, from: GuestOffset(start))
        var position = start
        while position < end {
            let range = try ranges.next()
            let next = min(end, range?.start.rawValue ?? end)
            if next > position, !add(next - position, 0, limit) { return }
            guard let range, next < end else { return }
            let behind = min(end, next + range.count)
            guard add(behind - next, Self.dirty, limit) else { return }
            position = behind
        }
    }

    /// Writes the chunk of the context that has the number `id`.
    func write(
        _ id: UInt32, isLast: Bool, to request: Request, with encoder: ReplyEncoder, into buffer: inout ByteBuffer
    ) {
        let isExtended = encoder.form == .extended
        let size = isExtended ? 8 + 16 * descriptors.count : 4 + 8 * descriptors.count
        buffer.reserveCapacity(minimumWritableBytes: size + ReplyEncoder.headerRoom)
        encoder.writeChunk(
            isExtended ? .blockStatusExtended : .blockStatus, size, isLast: isLast, to: request, into: &buffer)
        buffer.writeInteger(id)
        if isExtended { buffer.writeInteger(UInt32(truncatingIfNeeded: descriptors.count)) }
        for descriptor in descriptors {
            if isExtended {
                buffer.writeMultipleIntegers(descriptor.length, descriptor.flags)
            } else {
                // A request without extended headers has less than 4 GiB.
                buffer.writeMultipleIntegers(
                    UInt32(clamping: descriptor.length), UInt32(truncatingIfNeeded: descriptor.flags))
            }
        }
    }
}
