import BlockImage

/// The disk that a file system is on, and the words of errors about it.
struct GuestDisk: Sendable {
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

/// What people should know of a file system that is read. Every method may be called from any thread.
final class GuestNotes: Sendable {
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
