import BlockImage

/// The disk that a FAT or exFAT file system is on, and the words of errors about it.
struct FATDisk: Sendable {
    /// The disk.
    let image: Image
    /// The image that errors are about.
    let path: String
    /// What the file system is called in them.
    let name: String

    /// The `count` bytes from `offset` on. Throws `truncated`, before anything is allocated, where the disk ends before.
    func bytes(_ count: Int, at offset: UInt64) throws(ImageError) -> [UInt8] {
        try check(count, at: offset)
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in
            try image.read(count, at: GuestOffset(offset), into: &output)
        }
        return buffer.array
    }

    /// Appends them to `output`.
    func read(_ count: Int, at offset: UInt64, into output: inout OutputRawSpan) throws(ImageError) {
        try check(count, at: offset)
        try image.read(count, at: GuestOffset(offset), into: &output)
    }

    private func check(_ count: Int, at offset: UInt64) throws(ImageError) {
        guard offset <= image.virtualSize, UInt64(count) <= image.virtualSize - offset else {
            throw ImageError(
                .truncated, path: path,
                "\(name): \(count) bytes are needed at \(GuestOffset(offset)), but the disk has \(image.virtualSize); it may be cut short"
            )
        }
    }

    /// That `detail` is wrong at `offset` of the disk.
    func corrupt(at offset: UInt64, _ detail: ErrorText) -> ImageError {
        ImageError(.corrupt, path: path, "\(name), at \(GuestOffset(offset)) of its disk: \(detail)")
    }
}

/// Where the clusters of a FAT or exFAT file system lie. What it is made of was checked: nothing here overflows.
struct ClusterHeap: Hashable, Sendable {
    /// The number of the first cluster.
    static let first: UInt32 = 2

    /// Where the first cluster begins on the disk.
    let start: UInt64
    /// The bytes of a cluster.
    let clusterSize: UInt64
    /// How many there are.
    let count: UInt32

    /// Nil where it would end past 2^63.
    init?(start: UInt64, clusterSize: UInt64, count: UInt32) {
        let (size, overflow) = clusterSize.multipliedReportingOverflow(by: UInt64(count))
        guard clusterSize > 0, !overflow, start < 1 << 62, size < 1 << 62 else { return nil }
        (self.start, self.clusterSize, self.count) = (start, clusterSize, count)
    }

    /// Where it ends.
    var end: UInt64 { start + UInt64(count) * clusterSize }

    /// Whether there is a cluster `cluster`.
    func contains(_ cluster: UInt32) -> Bool { cluster >= Self.first && cluster - Self.first < count }

    /// Where `cluster`, one of its, begins.
    func offset(of cluster: UInt32) -> UInt64 { start + UInt64(cluster - Self.first) * clusterSize }

    /// The cluster that the byte at `offset` of the disk is in; nil for none.
    func cluster(at offset: UInt64) -> UInt32? {
        guard offset >= start, offset < end else { return nil }
        return UInt32((offset - start) / clusterSize) + Self.first
    }

    /// How many clusters `size` bytes take.
    func clusters(for size: UInt64) -> UInt64 { size / clusterSize + (size % clusterSize == 0 ? 0 : 1) }

    /// The bytes of the clusters that `size` bytes take, held to the largest number.
    func allocatedSize(for size: UInt64) -> UInt64 {
        let (bytes, overflow) = clusters(for: size).multipliedReportingOverflow(by: clusterSize)
        return overflow ? .max : bytes
    }
}

/// What people should know of a file system that is read. Every method may be called from any thread.
final class FATNotes: Sendable {
    /// A damaged directory may have a fault in each of its entries.
    private static let limit = 64
    private let kept = Guarded<[ErrorText]>([])

    /// The sentences, each once.
    var all: [ErrorText] { kept.withLock { $0 } }

    /// Adds `note`.
    func add(_ note: ErrorText) {
        kept.withLock { kept in
            guard kept.count <= Self.limit, !kept.contains(note) else { return }
            kept.append(kept.count < Self.limit ? note : "further damage is not told here")
        }
    }
}

/// The little-endian integer of the type `Value` at `position` of `bytes`, which must have it.
func littleEndian<Value: FixedWidthInteger>(
    _ bytes: ArraySlice<UInt8>, _ position: Int, as type: Value.Type = Value.self
) -> Value {
    var value: Value = 0
    // Loops over ranges are slow where nothing is optimized, and this is called for every field.
    var index = Value.bitWidth / 8
    while index > 0 {
        index -= 1
        value = value &<< 8 | Value(truncatingIfNeeded: bytes[bytes.startIndex + position + index])
    }
    return value
}
