import BlockImage

/// A file as it would be once its log was replayed. Immutable; every method may be called from any thread.
///
/// It has neither a descriptor nor an identity, since the file has other bytes.
final class ReplayedFile: HostFile {
    let id = HostFileID()
    var path: String { file.path }
    let size: UInt64
    var allocatedSize: UInt64 { file.allocatedSize }
    var identity: FileIdentity? { nil }
    var identities: Set<FileIdentity> { file.identities }
    var modified: FileTime { file.modified }
    var isLinked: Bool { file.isLinked }
    var isCurrent: Bool { file.isCurrent }
    var isUnchanged: Bool { file.isUnchanged }
    var isDatedByClock: Bool { file.isDatedByClock }
    var imageLock: ImageLock? { file.imageLock }
    var descriptor: CInt? { nil }
    var isPrompt: Bool { file.isPrompt }

    private let file: any HostFile
    private let log: ReplayedLog

    /// `file` with what `log`, its own, has.
    init(_ file: any HostFile, _ log: ReplayedLog) {
        self.file = file
        self.log = log
        size = log.fileSize
    }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        // Nothing can be read anywhere, as in any file.
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(clamping: count) <= size - offset.rawValue else {
            throw ImageError(
                .truncated, path: path, offset: offset,
                "\(count) bytes are wanted here, but the file ends at \(HostOffset(size))")
        }
        var position = offset.rawValue
        let end = position + UInt64(count)
        while position < end {
            let left = end - position
            switch log.piece(at: position, of: file) {
            case .page(let page, let rest):
                let bytes = try log.bytes(of: page)
                let first = Int(position - page.offset)
                let part = Array(bytes[first..<first + Int(min(rest, left))])
                // Safe: integers have no bytes that are not set.
                unsafe output.append(copying: part.span.bytes)
                position += UInt64(part.count)
            case .zeros(let rest):
                output.appendZeros(Int(min(rest, left)))
                position += min(rest, left)
            case .file(let rest):
                try file.read(Int(min(rest, left)), at: HostOffset(position), into: &output)
                position += min(rest, left)
            }
        }
    }

    func willNeed(_ count: UInt64, at offset: HostOffset) { file.willNeed(count, at: offset) }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        guard offset.rawValue < size else { return (true, limit) }
        let limit = min(limit, size - offset.rawValue)
        switch log.piece(at: offset.rawValue, of: file) {
        case .page(_, let rest): return (false, min(rest, limit))
        case .zeros(let rest): return (true, min(rest, limit))
        case .file(let rest): return file.run(at: offset, limit: min(rest, limit))
        }
    }
}
