import HostTools
import TestImages

/// Changes of files whose structures are integers at fixed places: what a fuzzer that knows only bytes takes long to find.
enum Mutation {
    /// Values at which something changes in one of the formats.
    private static let landmarks: [UInt64] = [
        0, 1, 2, 3, 7, 8, 9, 12, 16, 21, 22, 31, 32, 63, 64, 127, 128, 511, 512, 513, 4095, 4096, 65535, 65536, 1 << 20,
        1 << 21, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 52, 1 << 55, 1 << 56,
        (1 << 62) - 1, 1 << 62, 1 << 63, (1 << 63) - 1, .max - 511, .max,
    ]

    /// Puts an integer that looks like a size, an offset or an extreme somewhere into `bytes`, near the start for
    /// preference; or copies one from elsewhere in them. Does nothing to fewer than eight bytes.
    static func poke(_ bytes: inout [UInt8], using random: inout SeededRandom) {
        guard bytes.count >= 8 else { return }
        let width = [2, 4, 4, 8, 8, 8][Int.random(in: 0..<6, using: &random)]
        let reach = Bool.random(using: &random) ? min(bytes.count, 1024) : bytes.count
        let place = Int.random(in: 0...(reach - width), using: &random) / width * width
        if Int.random(in: 0..<8, using: &random) == 0 {
            let source = Int.random(in: 0...(bytes.count - width), using: &random) / width * width
            bytes.replaceSubrange(place..<place + width, with: Array(bytes[source..<source + width]))
            return
        }
        let value = self.value(in: bytes.count, using: &random)
        let isBigEndian = Bool.random(using: &random)
        for index in 0..<width {
            let shift = UInt64(isBigEndian ? width - 1 - index : index) * 8
            bytes[place + index] = UInt8(truncatingIfNeeded: value >> shift)
        }
    }

    private static func value(in size: Int, using random: inout SeededRandom) -> UInt64 {
        let landmark = landmarks[Int.random(in: 0..<landmarks.count, using: &random)]
        switch Int.random(in: 0..<5, using: &random) {
        case 0: return landmark
        case 1: return landmark &+ UInt64.random(in: 0..<4, using: &random) &- 2
        // A place in the file, or one just behind it, in bytes or in sectors; with the flags of table entries.
        case 2: return UInt64.random(in: 0...UInt64(size + 1024), using: &random) & ~511
        case 3: return UInt64.random(in: 0...UInt64(size / 512 + 2), using: &random)
        default:
            return UInt64.random(in: 0...UInt64(size), using: &random) & ~511 | 1
                << UInt64.random(in: 60...63, using: &random)
        }
    }
}
