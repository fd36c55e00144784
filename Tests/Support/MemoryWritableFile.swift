import BlockImage
import Synchronization

/// A file in memory that can be changed, and of which one operation fails if a test wants that.
package final class MemoryWritableFile: WritableFile {
    /// What fails, and how.
    package struct Fault: Sendable {
        /// The number of the operation that fails: a write, zeroing, a new size, a barrier; from 0 on.
        package var operation: Int
        /// The error that it fails with.
        package var errno: CInt
        /// Whether all that come after it fail as well.
        package var isLasting: Bool

        /// The operation `operation` fails.
        package init(operation: Int, errno: CInt, isLasting: Bool = false) {
            self.operation = operation
            self.errno = errno
            self.isLasting = isLasting
        }
    }

    private struct State {
        var bytes: [UInt8]
        var operations = 0
        var syncs = 0
        var hasSyncFailed = false
        var fault: Fault?
        var hasFailed = false
    }

    /// The number of this opening.
    package let id = HostFileID()
    /// A name for messages.
    package let path = "memory.qcow2"
    /// Its size when it was opened.
    package let size: UInt64
    /// None.
    package let identity: FileIdentity? = nil
    /// Whatever.
    package let modified = FileTime(seconds: 0, nanoseconds: 0)
    private let state: Guarded<State>

    /// A file of `bytes`.
    package init(_ bytes: [UInt8] = [], fault: Fault? = nil) {
        size = UInt64(bytes.count)
        state = Guarded(State(bytes: bytes, fault: fault))
    }

    /// What it has now.
    package var bytes: [UInt8] { state.withLock { $0.bytes } }
    /// How many operations there were that can fail.
    package var operationCount: Int { state.withLock { $0.operations } }
    /// How many barriers there were.
    package var syncCount: Int { state.withLock { $0.syncs } }
    /// Whether the fault has come to pass.
    package var hasFailed: Bool { state.withLock { $0.hasFailed } }
    /// Its size now.
    package var currentSize: UInt64 { state.withLock { UInt64($0.bytes.count) } }
    /// Its size now.
    package var allocatedSize: UInt64 { currentSize }
    /// It has no path.
    package var isCurrent: Bool { true }
    /// It has none.
    package var descriptor: CInt? { nil }

    /// From now on this fails.
    package func fail(_ fault: Fault?) {
        state.withLock { state in
            state.fault = fault
            state.operations = 0
        }
    }

    /// Appends what is there now.
    package func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let start = Int(offset.rawValue)
        let part: [UInt8]? = state.withLock { state in
            guard start + count <= state.bytes.count else { return nil }
            return Array(state.bytes[start..<start + count])
        }
        guard let part else { throw ImageError(.truncated, path: path, offset: offset, "the file ends before that") }
        part.withUnsafeBytes { output.append(copying: $0.bytes) }
    }

    /// Counts an operation, and throws where it is the one that fails. Half of what it does is done then.
    private static func count(_ state: inout State) -> CInt? {
        defer { state.operations += 1 }
        guard let fault = state.fault else { return nil }
        guard state.operations == fault.operation || fault.isLasting && state.operations > fault.operation else {
            return nil
        }
        state.hasFailed = true
        return fault.errno
    }

    private func check(_ errno: CInt?, _ offset: HostOffset? = nil) throws(ImageError) {
        if let errno { throw ImageError(.system(errno: errno), path: path, offset: offset, "a fault of the test") }
    }

    /// Writes all, or the first half where it fails.
    package func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError) {
        let content = bytes.withUnsafeBytes { Array($0) }
        let errno: CInt? = state.withLock { state in
            let errno = Self.count(&state)
            let count = errno == nil ? content.count : content.count / 2
            let start = Int(offset.rawValue)
            if state.bytes.count < start + count {
                state.bytes += [UInt8](repeating: 0, count: start + count - state.bytes.count)
            }
            state.bytes.overwrite(from: start, with: count < content.count ? Array(content[..<count]) : content)
            return errno
        }
        try check(errno, offset)
    }

    /// Zeros, as far as the file goes.
    package func zero(_ count: UInt64, at offset: HostOffset, keepingSpace: Bool) throws(ImageError) {
        let errno: CInt? = state.withLock { state in
            let errno = Self.count(&state)
            let start = min(Int(offset.rawValue), state.bytes.count)
            let end = min(start + Int(count) / (errno == nil ? 1 : 2), state.bytes.count)
            state.bytes.clear(start..<end)
            return errno
        }
        try check(errno, offset)
    }

    /// Cuts it, or adds zeros.
    package func setSize(_ size: UInt64) throws(ImageError) {
        let errno: CInt? = state.withLock { state in
            if let errno = Self.count(&state) { return errno }
            let missing = Int(size) - state.bytes.count
            if missing > 0 {
                state.bytes += [UInt8](repeating: 0, count: missing)
            } else {
                state.bytes.removeLast(-missing)
            }
            return nil
        }
        try check(errno)
    }

    /// A barrier; after one that failed all others do.
    package func sync() throws(ImageError) {
        let errno: CInt? = state.withLock { state in
            state.syncs += 1
            let errno = Self.count(&state)
            if errno != nil { state.hasSyncFailed = true }
            return state.hasSyncFailed ? errno ?? 5 : nil
        }
        try check(errno)
    }

    /// All is data.
    package func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
