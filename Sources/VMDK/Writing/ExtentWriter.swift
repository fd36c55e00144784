import BlockImage

/// Writes one extent of a new disk, from its start to its end. Offsets are those in the extent.
protocol ExtentWriter: AnyObject {
    /// Stores `bytes`, which begin with a grain where there are grains.
    func write(_ bytes: RawSpan, at offset: UInt64, stored: StoredBytes?) throws(ImageError)

    /// Has `count` bytes read as zeros whatever the parent has.
    func writeZeros(_ count: UInt64, at offset: UInt64) throws(ImageError)

    /// Writes what is left to write.
    func finish() throws(ImageError)
}

/// Writes an extent that is byte for byte what the disk has.
final class FlatExtentWriter: ExtentWriter {
    private let file: any NewFile
    private let size: UInt64

    /// An extent of `sectors` sectors in `file`.
    init(sectors: UInt64, in file: any NewFile) {
        self.file = file
        size = sectors * sectorSize
    }

    func write(_ bytes: RawSpan, at offset: UInt64, stored: StoredBytes?) throws(ImageError) {
        try file.write(bytes, at: HostOffset(offset), stored: stored)
    }

    /// Nothing, as there is no parent: what is not written is zeros.
    func writeZeros(_ count: UInt64, at offset: UInt64) {}

    func finish() throws(ImageError) {
        try file.setSize(size)
    }
}
