import BlockImage
import Foundation
import HostTools

extension Image {
    /// The `count` bytes of the disk at `offset`.
    package func bytes(_ count: Int, at offset: UInt64) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in
            try read(count, at: GuestOffset(offset), into: &output)
        }
        return buffer.array
    }

    /// The whole disk, which must be small.
    package func wholeDisk() throws(ImageError) -> [UInt8] {
        try bytes(Int(virtualSize), at: 0)
    }

    /// Where the disk is not what the file at `path` holds, as a sentence; nil where both are the same.
    package func firstDifference(from path: String) throws -> String? {
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw ToolFailure(description: "cannot read \(path)")
        }
        defer { try? file.close() }
        let size = try file.seekToEnd()
        guard size == virtualSize else { return "the disk has \(virtualSize) bytes, \(path) has \(size)" }
        try file.seek(toOffset: 0)
        var position: UInt64 = 0
        while position < size {
            let expected = try file.read(upToCount: Int(min(size - position, 1 << 20))) ?? Data()
            guard !expected.isEmpty else { return "\(path) ends early, at \(position)" }
            let found = Data(try bytes(expected.count, at: position))
            if found != expected {
                let index = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? 0
                return "byte \(position + UInt64(index)) is \(found[index]), but \(path) has \(expected[index])"
            }
            position += UInt64(expected.count)
        }
        return nil
    }

    /// Forty reads at places and of sizes that mean nothing to the format; the first that is not what the file at `path`
    /// has there, as a sentence.
    package func wrongRead(from path: String, seed: UInt64) throws -> String? {
        var random = SeededRandom(seed: seed)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        guard !bytes.isEmpty else { return nil }
        for round in 0..<40 {
            let start = Int.random(in: 0..<bytes.count, using: &random)
            let most = min(bytes.count - start, round % 4 == 0 ? 700_000 : 5000)
            let count = Int.random(in: 1...most, using: &random)
            let found = try self.bytes(count, at: UInt64(start))
            if !areSame(found, bytes[start..<start + count]) { return "\(count) bytes at \(start), seed \(seed)" }
        }
        return nil
    }
}

/// Whether both hold the same bytes: `==` of arrays takes its time in a debug build.
package func areSame(_ left: some ContiguousBytes, _ right: some ContiguousBytes) -> Bool {
    left.withUnsafeBytes { left in
        right.withUnsafeBytes { right in
            left.count == right.count
                && (left.count == 0 || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0)
        }
    }
}

/// The error of an image that `body` ends with; nil where it ends well, or with another error.
package func imageError(_ body: () throws -> Void) -> ImageError? {
    do {
        try body()
        return nil
    } catch {
        return error as? ImageError
    }
}
