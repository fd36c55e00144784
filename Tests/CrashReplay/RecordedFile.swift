import BlockImage

/// A file in memory, and where it is said what is done to it: nowhere, unless it has a recorder.
package final class RecordedFile: WritableFile {
    package let id = HostFileID()
    package let path: String
    package let size: UInt64
    package let identity: FileIdentity? = nil
    package let modified = FileTime(seconds: 0, nanoseconds: 0)
    private let state: Guarded<HostContent>
    private let recorder: Recorder?
    private let index: Int

    /// The file `index` of `recorder`, with `content`.
    package init(_ content: HostContent, recorder: Recorder? = nil, index: Int = 0, path: String = "recorded.img") {
        state = Guarded(content)
        size = content.size
        self.recorder = recorder
        self.index = index
        self.path = path
    }

    /// What is in it now.
    package var content: HostContent { state.withLock { $0 } }

    package var currentSize: UInt64 { state.withLock { $0.size } }
    package var allocatedSize: UInt64 { currentSize }
    package var isCurrent: Bool { true }
    package var descriptor: CInt? { nil }

    package func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try content.read(count, at: offset, into: &output, path: path)
    }

    package func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }

    package func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError) {
        perform(.write(bytes.withUnsafeBytes { [UInt8]($0) }, at: offset.rawValue))
    }

    package func zero(_ count: UInt64, at offset: HostOffset, keepingSpace: Bool) throws(ImageError) {
        perform(.zero(count, at: offset.rawValue))
    }

    package func setSize(_ size: UInt64) throws(ImageError) {
        perform(.setSize(size))
    }

    package func sync() throws(ImageError) {
        guard let recorder else { return }
        // What other threads do meanwhile is not covered.
        let covering = recorder.count
        recorder.add(.sync(file: index, covering: covering))
    }

    /// Gives the file its name.
    package func link() { perform(.link) }

    /// Both together, so that the recording has the order in which it happened.
    private func perform(_ change: HostChange) {
        state.withLock { content in
            content.apply(change)
            recorder?.add(.change(change, file: index))
        }
    }
}

/// A file in memory that is only read: what a power cut left.
package final class ContentFile: HostFile {
    package let id = HostFileID()
    package let path: String
    package let identity: FileIdentity? = nil
    package let modified = FileTime(seconds: 0, nanoseconds: 0)
    private let content: HostContent

    /// The file `content`.
    package init(_ content: HostContent, path: String = "state.img") {
        self.content = content
        self.path = path
    }

    package var size: UInt64 { content.size }
    package var allocatedSize: UInt64 { size }
    package var isCurrent: Bool { true }
    package var descriptor: CInt? { nil }

    package func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try content.read(count, at: offset, into: &output, path: path)
    }

    package func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}

extension HostContent {
    fileprivate func read(
        _ count: Int, at offset: HostOffset, into output: inout OutputRawSpan, path: String
    ) throws(ImageError) {
        if count == 0 { return }
        guard offset.rawValue <= size, UInt64(count) <= size - offset.rawValue else {
            throw ImageError(.truncated, path: path, offset: offset, "the file ends \(size) bytes from its start")
        }
        read(count, at: offset.rawValue) { part, count in
            if let part { output.append(copying: part.bytes) } else { output.appendZeros(count) }
        }
    }
}
