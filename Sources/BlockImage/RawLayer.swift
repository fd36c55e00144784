/// A disk kept byte for byte in one file.
public final class RawLayer: ImageLayer {
    /// The size of the disk in bytes.
    public let virtualSize: UInt64
    private let file: any HostFile

    /// The whole of `file` as a disk: its size exactly, also where that is no multiple of 512.
    public init(file: any HostFile) {
        self.file = file
        virtualSize = file.size
    }

    /// The file.
    public var files: [any HostFile] { [file] }

    /// The size of the file.
    public var hostSize: UInt64 { file.size }

    /// One run to the end of the disk. Holes are the host file's business (`HostFile.run`).
    public func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let count = min(limit, virtualSize - start.rawValue)
        return Extent(start: start, count: count, storage: .data(file: file, offset: HostOffset(start.rawValue)))
    }
}
