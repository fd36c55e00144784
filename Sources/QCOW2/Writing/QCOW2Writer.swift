import BlockImage

/// Writes a new QCOW2 image.
public final class QCOW2Writer: ImageWriter {
    /// See `ImageWriter`: a cluster, or a subcluster where there are any.
    public let granularity: Int
    /// See `ImageWriter`: nil unless the image was asked to be compressed.
    public let encoder: (any UnitEncoder)?

    private let image: NewQCOW2
    private let file: any NewFile

    /// Makes `image` in `file`. `compressionLevel`: how hard its encoder tries, from
    /// `image.compressionType.levels`; nil: it has no encoder.
    ///
    /// Throws what `image.validate` throws.
    public init(_ image: NewQCOW2, compressionLevel: Int? = nil, in file: any NewFile) throws(ImageError) {
        try image.validate(compressionLevel: compressionLevel, path: file.path)
        self.image = image
        self.file = file
        granularity = Int(image.hasExtendedL2 ? image.clusterSize / 32 : image.clusterSize)
        encoder = nil
    }

    /// See `ImageWriter`.
    public func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {}

    /// See `ImageWriter`.
    public func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {}

    /// See `ImageWriter`.
    public func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {}

    /// See `ImageWriter`.
    public func finish() throws(ImageError) {}
}
