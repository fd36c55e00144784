import BlockImage

/// Builds a new VMDK disk from its start to its end. Used by one thread at a time.
public final class VMDKWriter: ImageWriter {
    /// See `ImageWriter`.
    public let granularity: Int
    /// See `ImageWriter`: there where the disk is streamOptimized.
    public let encoder: (any UnitEncoder)?

    /// Begins `disk`, whose image is to be called `name`; what other files it takes have names made of that one.
    ///
    /// Throws what `validate` throws, and what making the files throws.
    public init(_ disk: NewVMDK, named name: String, in files: any NewFiles) throws(ImageError) {
        try disk.validate(path: name)
        granularity = 65536
        encoder = nil
    }

    /// See `ImageWriter`.
    public func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
    }

    /// See `ImageWriter`.
    public func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
    }

    /// See `ImageWriter`.
    public func writeZeros(_ count: UInt64, at start: GuestOffset) throws(ImageError) {
    }

    /// See `ImageWriter`.
    public func finish() throws(ImageError) {
    }
}
