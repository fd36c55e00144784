import BlockImage

/// Where the kernel finds the bytes of a disk in the files that hold them: for each chunk, a file and a block of it.
///
/// What it cannot find there (compressed and encrypted clusters, what is not aligned to blocks or cut off at the end of a
/// file, chunks that are of several kinds) it gets from another file, which the server has: the `fallback`, which is the
/// disk byte for byte, and ends at a multiple of 4096. A value; may be used from any thread.
public struct ExtentMap: Sendable {
    /// The size of the disk in bytes.
    public let size: UInt64
    /// The files that hold parts of the disk, in the order of their device numbers, which begin with 1.
    public let files: [any HostFile]
    /// A block has 2 to the power of this many bytes: 9 to 12.
    public let blockBits: Int
    /// A chunk has 2 to the power of this many bytes.
    public let chunkBits: Int
    /// How many bytes of the disk the kernel finds in the files, knows to be zeros, and gets from the fallback.
    public private(set) var directSize: UInt64 = 0
    public private(set) var zeroSize: UInt64 = 0
    public private(set) var fallbackSize: UInt64 = 0
    /// For each chunk its entry, as `ErofsImage` has it.
    let index: [UInt64]

    /// The most chunks, whose entries are a file of 16 MiB: of 64 KiB each, those of 128 GiB.
    static let chunkLimit: UInt64 = 1 << 21
    /// The most blocks: their numbers have 32 bits, of which the last one stands for zeros.
    static let blockLimit: UInt64 = 1 << 32 - 1

    /// Whether anything is got from the fallback.
    public var needsFallback: Bool { fallbackSize > 0 }

    /// The map of `image`. Reads the tables of all of it.
    ///
    /// Throws `unsupported` where the disk is empty, is too large or has too many runs, or where the kernel would find
    /// nothing of it in files.
    public init(of image: Image) throws(ImageError) {
        let found = try MappedPieces(of: image)
        size = image.virtualSize
        files = found.files
        guard size > 0 else { throw ImageError(.unsupported, about: .disk, "has no bytes that could be mapped") }
        guard (size - 1) >> UInt64(ChunkLayout.mostBlockBits) < Self.blockLimit else {
            throw ImageError(
                .unsupported, about: .disk,
                "has \(size) bytes, and the kernel can map \(Self.blockLimit) blocks of \(1 << ChunkLayout.mostBlockBits)"
            )
        }
        let layout = ChunkLayout(for: found, size: size)
        (blockBits, chunkBits) = (layout.blockBits, layout.chunkBits)
        var writer = IndexWriter(found, size: size, layout: layout)
        writer.writeAll()
        index = writer.entries
        (directSize, zeroSize, fallbackSize) = (writer.directSize, writer.zeroSize, writer.fallbackSize)
        guard directSize > 0 else {
            throw ImageError(
                .unsupported, about: .disk,
                fallbackSize == 0
                    ? "holds nothing but zeros"
                    : "no chunk of \(1 << chunkBits) bytes of it lies in a regular file as it is")
        }
    }
}
