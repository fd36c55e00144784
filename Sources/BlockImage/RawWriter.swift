/// Writes a disk byte for byte to one file, in which zeros are holes. Used by one thread at a time.
public final class RawWriter: ImageWriter {
    /// What space the file gets where nothing is written, by the names that QEMU gives it.
    public enum Preallocation: String, CaseIterable, Sendable {
        /// None: holes.
        case off
        /// Space that the file system sets aside.
        case falloc
        /// Space that is filled with zeros.
        case full
    }

    /// A page, the smallest hole that file systems keep.
    public let granularity = 4096
    /// Encodes what is written: a raw disk is not encoded.
    public var encoder: (any UnitEncoder)? { nil }

    private let file: any NewFile

    /// A disk of `size` bytes in `file`. Throws what the host throws when it cannot take it, and nothing is written.
    public init(size: UInt64, preallocation: Preallocation = .off, in file: any NewFile) throws(ImageError) {
        self.file = file
        try file.setSize(size)
        switch preallocation {
        case .off: break
        case .falloc, .full: try file.reserve(size, at: HostOffset(0), isFilled: preallocation == .full)
        }
    }

    /// Stores `bytes`, which the caller knows not to be all zeros, as they are.
    public func write(_ bytes: RawSpan, at start: GuestOffset, stored: StoredBytes?) throws(ImageError) {
        try file.write(bytes, at: HostOffset(start.rawValue), stored: stored)
    }

    /// Never called, since there is no encoder.
    public func write(encoded bytes: RawSpan, at start: GuestOffset) throws(ImageError) {
        preconditionFailure("a raw disk encodes nothing")
    }

    /// Has `count` bytes read as zeros, also where a backing image has others: what no piece covers is zeros.
    public func writeZeros(_ count: UInt64, at start: GuestOffset) {}

    /// Writes what is left to write: nothing, as the file has its size from the beginning.
    public func finish() {}
}
