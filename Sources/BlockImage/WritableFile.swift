/// A file on the host whose image is changed in place. Every method may be called from any thread; positional I/O only.
///
/// What was written can be read at once; what of it a power cut leaves is known only after `sync`. `read` reads what is
/// there now, up to `currentSize`.
public protocol WritableFile: HostFile {
    /// Its size in bytes now; `size` is that of when it was opened.
    var currentSize: UInt64 { get }

    /// Writes all of `bytes` at `offset`; the file grows where they reach past its end. Throws `system`; then any part of
    /// them may have been written.
    func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError)

    /// Has the `count` bytes at `offset` read as zeros. `keepingSpace`: their space stays allocated; otherwise it is given
    /// back where the host can (a hole).
    ///
    /// The file does not grow: what lies past its end reads as zeros anyway once it does. Throws `system`; then any part
    /// of the bytes may be zeros.
    func zero(_ count: UInt64, at offset: HostOffset, keepingSpace: Bool) throws(ImageError)

    /// Makes it `size` bytes long; what is added reads as zeros.
    func setSize(_ size: UInt64) throws(ImageError)

    /// Returns when everything written before the call is on stable storage (fdatasync). After one failure every later
    /// call fails, since the kernel may have dropped what it could not write.
    func sync() throws(ImageError)
}
