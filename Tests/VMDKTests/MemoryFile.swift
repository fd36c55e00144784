import BlockImage

/// A file that lives in memory, so that tests can poke into it.
final class MemoryFile: HostFile {
    let id = HostFileID()
    let path: String
    private let content: AlignedBuffer
    let identity: FileIdentity?

    init(_ content: [UInt8], path: String = "disk.vmdk", identity: FileIdentity? = nil) {
        self.content = AlignedBuffer(capacity: content.count)
        self.content.fill(content.count) { output in
            // Safe: any byte is a valid one.
            for byte in content { unsafe output.append(byte, as: UInt8.self) }
        }
        self.path = path
        self.identity = identity
    }

    var size: UInt64 { UInt64(content.count) }
    var allocatedSize: UInt64 { size }
    var modified: FileTime { FileTime(seconds: 0, nanoseconds: 0) }
    var descriptor: CInt? { nil }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        guard offset.rawValue <= size, UInt64(count) <= size - offset.rawValue else {
            throw ImageError(.truncated, path: path, offset: offset, "read \(count) bytes beyond the end")
        }
        let start = Int(offset.rawValue)
        let content = self.content
        output.append(copying: content.bytes.extracting(start..<start + count))
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}

/// Opens the files of a dictionary, and no others.
final class MemoryPolicy: OpenPolicy {
    let files: [String: MemoryFile]

    init(_ files: [String: MemoryFile] = [:]) {
        self.files = files
    }

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        guard reference.role == .extent, let found = files[reference.text] else {
            throw ImageError(.denied, path: file.path, "no \(reference.role.rawValue) \"\(reference.text)\" here")
        }
        return found
    }
}

/// Random numbers that a seed repeats (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

extension Image {
    /// The `count` bytes of the disk from `start` on.
    func bytes(_ count: Int, at start: Int) throws(ImageError) -> [UInt8] {
        let buffer = AlignedBuffer(capacity: count)
        try buffer.fill(count) { output throws(ImageError) in
            try read(count, at: GuestOffset(UInt64(start)), into: &output)
        }
        return buffer.array
    }

    /// All bytes of the disk.
    func bytes() throws(ImageError) -> [UInt8] { try bytes(Int(virtualSize), at: 0) }
}

extension [UInt8] {
    /// Puts the little-endian bytes of `value` at `offset`.
    mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> Value(index * 8))
        }
    }
}
