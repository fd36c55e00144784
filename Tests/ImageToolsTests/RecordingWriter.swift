import BlockImage
import Testing

/// A writer that keeps what it is given, and holds its caller to the rules of `ImageWriter`.
final class RecordingWriter: ImageWriter {
    /// Where something was written.
    enum Kind: Hashable {
        case bytes, encoded, zeros
    }

    let granularity: Int
    let encoder: (any UnitEncoder)?
    /// The disk, as it reads.
    private(set) var disk: [UInt8]
    /// The pieces, in their order.
    private(set) var pieces: [(start: Int, count: Int, kind: Kind)] = []
    /// How many pieces came with a place on the host that has the same bytes.
    private(set) var storedCount = 0

    /// A writer of a disk of `size` bytes, which reads as `backing` where nothing is written.
    init(size: Int, granularity: Int, encoder: (any UnitEncoder)? = nil, over backing: [UInt8]? = nil) {
        self.granularity = granularity
        self.encoder = encoder
        disk = backing ?? Array(repeating: 0, count: size)
    }

    func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        let content = bytes.withUnsafeBytes { Array($0) }
        #expect(content.contains { $0 != 0 })
        if let stored {
            storedCount += 1
            let buffer = AlignedBuffer(capacity: content.count)
            try buffer.fill(content.count) { output throws(ImageError) in
                try stored.file.read(content.count, at: stored.offset, into: &output)
            }
            #expect(buffer.array == content)
        }
        put(content, at: Int(start.rawValue), .bytes)
    }

    func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        let encoded = bytes.withUnsafeBytes { Array($0) }
        var unit = Array(repeating: encoded[0], count: encoder?.unitSize ?? 0)
        for (index, byte) in encoded.dropFirst().enumerated() { unit[index] = byte }
        let start = Int(start.rawValue)
        put(Array(unit.prefix(disk.count - start)), at: start, .encoded)
    }

    func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
        put(Array(repeating: 0, count: Int(count)), at: Int(start.rawValue), .zeros)
    }

    func finish() throws(ImageError) {}

    private func put(_ bytes: [UInt8], at start: Int, _ kind: Kind) {
        let end = start + bytes.count
        #expect(start % granularity == 0 && (end % granularity == 0 || end == disk.count) && end <= disk.count)
        #expect(pieces.last.map { $0.start + $0.count } ?? 0 <= start, "pieces come in the order of the disk")
        disk.replaceSubrange(start..<end, with: bytes)
        pieces.append((start, bytes.count, kind))
    }
}

/// Leaves away the end of a unit that repeats the unit's first byte: enough to see that units are whole, and encoded
/// where that pays.
struct RepeatEncoder: UnitEncoder {
    let unitSize: Int
    var encodedLimit: Int { unitSize }

    func encode(_ unit: RawSpan, into output: inout OutputRawSpan) throws(ImageError) -> Bool {
        #expect(unit.byteCount == unitSize && output.freeCapacity >= encodedLimit)
        let bytes = unit.withUnsafeBytes { Array($0) }
        var kept = bytes[...]
        while kept.count > 1, kept.last == bytes[0] { kept.removeLast() }
        guard kept.count < unitSize / 2 else { return false }
        // The first byte is what fills up the rest.
        let encoded = [bytes[0]] + kept
        encoded.withUnsafeBytes { output.append(copying: $0.bytes) }
        return true
    }
}
