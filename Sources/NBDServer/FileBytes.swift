import BlockImage
import Glibc
import NIOCore

/// Bytes of a reply that the kernel sends from a file of the image without copying them (sendfile(2)): reading them and
/// sending what was read costs several times as much.
///
/// sendfile(2) does not report a file that was truncated meanwhile: it sends nothing, over and over. `TransmissionPhase`
/// sees to that.
///
/// SwiftNIO 2.101 calls `FileRegion` and `NIOFileHandle` deprecated in their documentation, but they are all that a channel
/// can send with sendfile(2): `NIOFileSystem`, which it names in their place, only reads into memory.
struct FileBytes: Sendable {
    /// Fewer are read and sent, several runs of them in one chunk.
    static let leastCount: UInt64 = 128 << 10
    /// A `FileRegion` counts in 56 bits.
    private static let offsetLimit = 1 << 56

    /// Where they lie. Its descriptor is a duplicate of the file's; `close` closes it.
    let region: FileRegion

    /// The bytes that `extent` stores; nil where it does not store them as they are, they are few, or they are not in the
    /// page cache: an event loop sends them, which must not wait for a disk. Also nil where the file is written to: they may
    /// be another's when they are sent.
    init?(_ extent: Extent) {
        guard extent.count >= Self.leastCount, case .data(let file, let offset) = extent.storage,
            !(file is any WritableFile), let descriptor = file.descriptor, file.isCached(extent.count, at: offset),
            let start = Int(exactly: offset.rawValue), let count = Int(exactly: extent.count),
            case (let end, false) = start.addingReportingOverflow(count), end < Self.offsetLimit
        else { return nil }
        // The image may be closed before these are sent. The initializer is the one of two that the compiler does not call
        // deprecated; both do the same.
        let own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard own >= 0 else { return nil }
        region = FileRegion(
            fileHandle: NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: own), readerIndex: start, endIndex: end)
    }

    /// Closes the descriptor, once they are sent or never will be.
    func close() {
        try? region.fileHandle.close()
    }
}
