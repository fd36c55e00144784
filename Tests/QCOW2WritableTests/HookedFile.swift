import BlockImage
import TestImages

/// A file in memory that has something done before it is used.
// Safe: the hooks are set before other threads use it.
final class HookedFile: WritableFile, @unchecked Sendable {
    let content: MemoryWritableFile
    /// Done before each read and each write.
    var beforeAccess: @Sendable () -> Void = {}
    /// Asked before each read whether that fails.
    var failsRead: @Sendable () -> Bool = { false }
    /// Done before each barrier.
    var beforeSync: @Sendable () -> Void = {}

    init(_ content: MemoryWritableFile) {
        self.content = content
    }

    var id: HostFileID { content.id }
    var path: String { content.path }
    var size: UInt64 { content.size }
    var allocatedSize: UInt64 { content.allocatedSize }
    var identity: FileIdentity? { nil }
    var modified: FileTime { content.modified }
    var isCurrent: Bool { true }
    var descriptor: CInt? { nil }
    var currentSize: UInt64 { content.currentSize }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        beforeAccess()
        if failsRead() { throw ImageError(.system(errno: 5), path: path, offset: offset, "a fault of the test") }
        try content.read(count, at: offset, into: &output)
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }

    func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError) {
        beforeAccess()
        try content.write(bytes, at: offset)
    }

    func zero(_ count: UInt64, at offset: HostOffset, keepingSpace: Bool) throws(ImageError) {
        beforeAccess()
        try content.zero(count, at: offset, keepingSpace: keepingSpace)
    }

    func setSize(_ size: UInt64) throws(ImageError) { try content.setSize(size) }

    func sync() throws(ImageError) {
        beforeSync()
        try content.sync()
    }
}
