import BlockImage
import TestImages

/// A file in memory of which some bytes cannot be read, as on a disk with bad sectors.
final class FaultyFile: HostFile {
    let content: MemoryFile
    let bad: [Range<Int>]

    init(_ bytes: [UInt8], bad: [Range<Int>]) {
        content = MemoryFile(bytes)
        self.bad = bad
    }

    var id: HostFileID { content.id }
    var path: String { content.path }
    var size: UInt64 { content.size }
    var allocatedSize: UInt64 { content.allocatedSize }
    var identity: FileIdentity? { nil }
    var modified: FileTime { content.modified }
    var isCurrent: Bool { true }
    var descriptor: CInt? { nil }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let start = Int(offset.rawValue)
        guard !bad.contains(where: { $0.overlaps(start..<start + count) }) else {
            throw ImageError(.system(errno: 5), path: path, offset: offset, "read: Input/output error")
        }
        try content.read(count, at: offset, into: &output)
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
