import BlockImage
import HostTools

extension ImageWriter {
    /// Writes what `disk` has that its `parent` has not, in pieces whose lengths `random` draws, and finishes it.
    package func write(
        disk: [UInt8], over parent: [UInt8] = [], random: inout SeededRandom
    ) throws(ImageError) {
        let source = MemoryFile(disk)
        var position = 0
        while position < disk.count {
            let need = need(disk, parent, at: position)
            let most = min(disk.count, position + Int.random(in: 1...12, using: &random) * granularity)
            var end = position + granularity
            while end < most, self.need(disk, parent, at: end) == need { end += granularity }
            end = min(end, disk.count)
            let start = GuestOffset(UInt64(position))
            switch need {
            case .nothing: break
            case .zeros: try writeZeros(UInt64(end - position), at: start)
            case .bytes:
                try write(disk, position..<end, stored: StoredBytes(file: source, offset: HostOffset(start.rawValue)))
            }
            position = end
        }
        try finish()
    }

    /// Writes the bytes `range` of `disk` in the way that the writer wants them.
    package func write(_ disk: [UInt8], _ range: Range<Int>, stored: StoredBytes? = nil) throws(ImageError) {
        guard let encoder else {
            let bytes = disk.span.bytes.extracting(range)
            return try write(bytes, at: GuestOffset(UInt64(range.lowerBound)), stored: stored)
        }
        for start in stride(from: range.lowerBound, to: range.upperBound, by: encoder.unitSize) {
            let count = min(encoder.unitSize, range.upperBound - start)
            let unit = Array(disk[start..<start + count]) + [UInt8](repeating: 0, count: encoder.unitSize - count)
            let encoded = AlignedBuffer(capacity: encoder.encodedLimit)
            let isSmaller = try encoded.fill(encoder.encodedLimit) { output throws(ImageError) in
                try encoder.encode(unit.span.bytes, into: &output)
            }
            let offset = GuestOffset(UInt64(start))
            if isSmaller {
                try write(encoded: encoded.bytes, at: offset)
            } else {
                try write(disk.span.bytes.extracting(start..<start + count), at: offset, stored: nil)
            }
        }
    }

    /// What must be written of the granule at `position`.
    private func need(_ disk: [UInt8], _ parent: [UInt8], at position: Int) -> Need {
        let end = min(position + granularity, disk.count)
        let own = disk[position..<end]
        let below = parent[min(position, parent.count)..<min(end, parent.count)]
        let zeros = [UInt8](repeating: 0, count: end - position)
        if areSame(own, Array(below) + zeros.dropFirst(below.count)) { return .nothing }
        return areSame(own, zeros) ? .zeros : .bytes
    }
}

/// What must be written of a part of a disk.
private enum Need {
    case nothing
    case zeros
    case bytes
}
