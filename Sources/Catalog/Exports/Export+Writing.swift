import BlockImage
import Glibc
import Overlays

/// What is written to an export. All of them that are of one image share one overlay: what was written by way of one is seen
/// by way of the others, and a flush is for all of it.
extension Export {
    /// Whether it can be written to.
    package var isWritable: Bool { range != nil }

    /// Has it hold `bytes` at `start`, inside of it. Throws `system` with EROFS where it cannot be written to.
    package func write(_ bytes: RawSpan, at start: UInt64) throws(ImageError) {
        let place = try place(UInt64(bytes.byteCount), at: start)
        try place.layer.write(bytes, at: place.start)
    }

    /// Has the `count` bytes at `start` read as zeros; `mayUnmap`: their space is given back.
    package func zero(_ count: UInt64, at start: UInt64, mayUnmap: Bool) throws(ImageError) {
        let place = try place(count, at: start)
        try place.layer.zero(count, at: place.start, mayUnmap: mayUnmap)
    }

    /// Whether that takes less than writing them.
    package func zeroesFast(_ count: UInt64, at start: UInt64) throws(ImageError) -> Bool {
        let place = try place(count, at: start)
        return try place.layer.zeroesFast(count, at: place.start)
    }

    /// Gives back the space of the `count` bytes at `start`, whose content is of no interest any more.
    package func discard(_ count: UInt64, at start: UInt64) throws(ImageError) {
        let place = try place(count, at: start)
        try place.layer.discard(count, at: place.start)
    }

    /// Returns when all that was written before, by way of whichever export, is on stable storage.
    package func flush() throws(ImageError) {
        try range?.layer.disk.flush()
    }

    private func place(_ count: UInt64, at start: UInt64) throws(ImageError) -> (
        layer: OverlayLayer, start: GuestOffset
    ) {
        guard let range else { throw ImageError(.system(errno: EROFS), about: .export(name), "cannot be written to") }
        guard let place = range.range(count, at: start), place.count == count else {
            throw ImageError(
                .system(errno: ENOSPC), about: .export(name),
                "\(count) bytes at \(GuestOffset(start)) are not in it: it has \(range.size)")
        }
        return (range.layer, GuestOffset(place.lowerBound))
    }
}
