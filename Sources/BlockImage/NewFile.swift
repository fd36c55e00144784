/// Bytes that lie in a file already: what a new file may share with it, where the host can.
public struct StoredBytes: Sendable {
    /// The file.
    public var file: any HostFile
    /// Where in it they begin.
    public var offset: HostOffset

    /// The bytes of `file` from `offset` on.
    public init(file: any HostFile, offset: HostOffset) {
        self.file = file
        self.offset = offset
    }
}

/// A file on the host that is being made. It has no place among the others until all of its image is finished; what is
/// dropped before that leaves nothing behind. Every method may be called from any thread.
public protocol NewFile: AnyObject, Sendable {
    /// The path that it will have, for messages.
    var path: String { get }

    /// Writes `bytes` at `offset`. What lies between what was written is a hole, and reads as zeros.
    ///
    /// `stored`: where the same bytes lie already; the host then shares their space, if it can. Throws `system` when the
    /// host cannot write, as with ENOSPC.
    func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError)

    /// Gives the `count` bytes at `offset` space on the host; they read as zeros. `isFilled`: by writing zeros, instead
    /// of only having the file system set the space aside.
    func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) throws(ImageError)

    /// Makes it `size` bytes long: what is behind that is cut off, what is missing is a hole.
    func setSize(_ size: UInt64) throws(ImageError)
}

extension NewFile {
    /// Writes `bytes` at `offset`.
    public func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError) {
        try write(bytes, at: offset, stored: nil)
    }

    /// Writes `bytes` at `offset`.
    public func write(_ bytes: [UInt8], at offset: HostOffset) throws(ImageError) {
        // Safe: integers have no bytes that are not set.
        unsafe try write(bytes.span.bytes, at: offset, stored: nil)
    }
}

/// The files of one new image. They get their places together, or none does.
public protocol NewFiles: AnyObject {
    /// A new file beside the image; `name` has no folder. Throws `system` with EEXIST where there is one already that
    /// must not be replaced.
    func file(named name: String) throws(ImageError) -> any NewFile
}
