import BlockImage
import Glibc
import NIOCore

/// Bytes of an answer that the kernel takes from a file of the image, and nobody copies (sendfile(2)): to read them and to
/// send what was read costs several times as much.
///
/// The kernel has no word for a file that was cut short meanwhile: nothing is sent then, over and over. Whoever sends
/// these looks after that (`TransmissionPhase`).
struct FileBytes: Sendable {
    /// Fewer are read and sent, several runs of them in one chunk.
    static let leastCount: UInt64 = 128 << 10
    /// A `FileRegion` counts in 56 bits.
    private static let offsetLimit = 1 << 56

    /// Where they lie. Its descriptor is its own; see `close`.
    let region: FileRegion

    /// The bytes that `extent` stores; nil where it does not store them as they are, they are few, or they are not in the
    /// host's memory: who sends them must not wait for a disk.
    init?(_ extent: Extent) {
        guard extent.count >= Self.leastCount, case .data(let file, let offset) = extent.storage,
            let descriptor = file.descriptor, file.isCached(extent.count, at: offset),
            let start = Int(exactly: offset.rawValue), let count = Int(exactly: extent.count),
            case (let end, false) = start.addingReportingOverflow(count), end < Self.offsetLimit
        else { return nil }
        // The image may be closed before these are sent.
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
