import Foundation
import HostTools

/// What tests do to large arrays of bytes, by calls: loops over their elements are slow in builds for debugging.
extension [UInt8] {
    /// Puts `bytes` in the place of as many, from `start` on.
    package mutating func overwrite(from start: Int, with bytes: [UInt8]) {
        precondition(start + bytes.count <= count)
        withUnsafeMutableBytes { target in
            bytes.withUnsafeBytes { source in
                UnsafeMutableRawBufferPointer(rebasing: target[start..<start + bytes.count]).copyMemory(from: source)
            }
        }
    }

    /// Makes the bytes of `range` zeros.
    package mutating func clear(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        withUnsafeMutableBytes { target in
            _ = memset(UnsafeMutableRawBufferPointer(rebasing: target[range]).baseAddress!, 0, range.count)
        }
    }

    /// Whether the bytes of `range` are zeros.
    package func isZero(_ range: Range<Int>) -> Bool {
        withUnsafeBytes { bytes in
            let part = UnsafeRawBufferPointer(rebasing: bytes[range])
            guard let start = part.baseAddress, let first = part.first else { return true }
            return first == 0 && memcmp(start, start + 1, part.count - 1) == 0
        }
    }

    private static let noise: [UInt8] = {
        var random = SeededRandom(seed: 1)
        let words = (0..<3 << 16).map { _ in random.next() }
        return Array(words.withUnsafeBytes { [UInt8]($0) })
    }()

    /// `count` bytes of noise, others for each `salt`.
    package static func noise(_ count: Int, salt: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var (start, done) = (Int(salt % (1 << 19)), 0)
        while done < count {
            let part = Swift.min(count - done, noise.count - start)
            bytes.overwrite(from: done, with: Array(noise[start..<start + part]))
            (start, done) = (0, done + part)
        }
        return bytes
    }
}
