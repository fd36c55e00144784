import BlockImage

/// A few bytes of a disk, to compare what the kernel makes of a map with.
struct MapSample: Sendable {
    var offset: UInt64
    var bytes: [UInt8]

    /// The most samples: there may be thousands of files.
    private static let limit = 256
    /// How many samples there are of any chunks, besides those of each file.
    private static let randomCount = 8
    private static let size: UInt64 = 4096

    /// Samples of the first and the last chunk of each file, of the zeros and of the fallback, and of a few others, as
    /// `image` has them.
    static func all(of map: ExtentMap, as image: Image) throws(ImageError) -> [MapSample] {
        var chunks = map.firstAndLastChunks
        if chunks.count > limit { chunks = Array(chunks.shuffled().prefix(limit)) }
        for _ in 0..<randomCount { chunks.append(Int.random(in: map.index.indices)) }
        var samples: [MapSample] = []
        for chunk in chunks {
            let start = UInt64(chunk) << UInt64(map.chunkBits)
            let end = min(start + 1 << UInt64(map.chunkBits), map.size)
            try append(start..<min(start + size, end), of: image, to: &samples)
            try append(max(start, end - min(end, size))..<end, of: image, to: &samples)
        }
        return samples
    }

    private static func append(
        _ range: Range<UInt64>, of image: Image, to samples: inout [MapSample]
    ) throws(ImageError) {
        let buffer = AlignedBuffer(capacity: range.count)
        do throws(ImageError) {
            try buffer.fill(range.count) { output throws(ImageError) in
                try image.read(range.count, at: GuestOffset(range.lowerBound), into: &output)
            }
        } catch {
            // What is lost is an error by each way.
            guard !error.isCancelled, !error.isWouldBlock else { throw error }
            return
        }
        samples.append(MapSample(offset: range.lowerBound, bytes: buffer.array))
    }
}

extension ExtentMap {
    /// Of each device, and of the zeros, the first and the last chunk.
    fileprivate var firstAndLastChunks: [Int] {
        var first = [Int?](repeating: nil, count: files.count + 2)
        var last = first
        for (chunk, entry) in index.enumerated() {
            // The zeros have the device number 0.
            let device = Int(entry >> 16 & 0xffff)
            if first[device] == nil { first[device] = chunk }
            last[device] = chunk
        }
        return Array(Set((first + last).compactMap { $0 })).sorted()
    }
}
