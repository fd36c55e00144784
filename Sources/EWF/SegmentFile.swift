import BlockImage

/// The segments of one image that are open of those beyond the first `limit`, which always are: an image may have thousands,
/// and a process has few descriptors. Every method may be called from any thread.
final class OpenSegments: Sendable {
    /// The most segments that stay open all the time, and the most others that are open at once.
    static let limit = 64

    private let files = Guarded<[(number: HostFileID, file: any HostFile)]>([])

    /// The segment with the number `id`; nil where it is not open.
    func openFile(_ id: HostFileID) -> (any HostFile)? {
        files.withLock { files in files.first { $0.number == id }?.file }
    }

    /// The segment with the number `id`, opened by `open` where it is not; the one that was used longest ago is closed for it.
    func file(
        _ id: HostFileID, _ open: () throws(ImageError) -> any HostFile
    ) throws(ImageError) -> any HostFile {
        let known = files.withLock { files -> (any HostFile)? in
            guard let index = files.firstIndex(where: { $0.number == id }) else { return nil }
            let found = files.remove(at: index)
            files.append(found)
            return found.file
        }
        if let known { return known }
        let opened = try open()
        let closed = files.withLock { files -> (any HostFile)? in
            files.append((id, opened))
            return files.count > Self.limit ? files.removeFirst().file : nil
        }
        // Closed here, and not under the lock.
        withExtendedLifetime(closed) {}
        return opened
    }
}

/// A segment that is opened anew when it is read. Every method may be called from any thread.
final class SegmentFile: HostFile {
    let id = HostFileID()
    let path: String
    let size: UInt64
    let allocatedSize: UInt64
    let identity: FileIdentity?
    let modified: FileTime
    let isLinked: Bool
    let isPrompt: Bool
    let isDatedByClock: Bool
    /// Nil: a descriptor would have to stay open.
    var descriptor: CInt? { nil }

    private let segments: OpenSegments
    private let reopen: @Sendable () throws(ImageError) -> any HostFile

    /// The segment in `file`, which may be closed and is opened by `reopen`, one of `segments`.
    init(
        _ file: any HostFile, among segments: OpenSegments,
        reopen: @escaping @Sendable () throws(ImageError) -> any HostFile
    ) {
        path = file.path
        size = file.size
        allocatedSize = file.allocatedSize
        identity = file.identity
        modified = file.modified
        isLinked = file.isLinked
        isPrompt = false
        isDatedByClock = file.isDatedByClock
        self.segments = segments
        self.reopen = reopen
    }

    /// Throws where it is another file by now, or was written to.
    private func opened() throws(ImageError) -> any HostFile {
        try segments.file(id) { () throws(ImageError) in
            let file = try reopen()
            guard file.identity == identity, file.size == size, file.modified == modified || isDatedByClock else {
                throw ImageError(.corrupt, path: path, "was changed since the image was opened")
            }
            return file
        }
    }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try opened().read(count, at: offset, into: &output)
    }

    var isCurrent: Bool { (try? opened())?.isCurrent ?? false }
    /// Of one that is closed, that is seen when it is opened to be read.
    var isUnchanged: Bool { segments.openFile(id)?.isUnchanged ?? true }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
