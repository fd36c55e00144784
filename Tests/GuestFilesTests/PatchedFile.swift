import BlockImage
import Foundation
import HostTools

/// A file of the host of which some bytes are others than it has.
final class PatchedFile: HostFile {
    let id = HostFileID()
    let path: String
    let size: UInt64
    let modified = FileTime(seconds: 0, nanoseconds: 0)
    private let handle: FileHandle
    private let patches: [UInt64: UInt8]

    var identity: FileIdentity? { nil }
    var allocatedSize: UInt64 { size }
    var isCurrent: Bool { true }
    var descriptor: CInt? { nil }

    /// The file at `path` with `patches`, by offset.
    init(_ path: String, patches: [UInt64: UInt8] = [:]) throws {
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw ToolFailure(description: "cannot read \(path)")
        }
        (self.path, self.handle, self.patches) = (path, handle, patches)
        size = try handle.seekToEnd()
    }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        let start = offset.rawValue
        var bytes = [UInt8](repeating: 0, count: count)
        guard pread(handle.fileDescriptor, &bytes, count, off_t(start)) == count else {
            throw ImageError(.truncated, path: path, offset: offset, "the file ends")
        }
        if count > patches.count * 8 {
            for (place, byte) in patches where place >= start && place - start < UInt64(count) {
                bytes[Int(place - start)] = byte
            }
        } else {
            for index in 0..<count { bytes[index] = patches[start + UInt64(index)] ?? bytes[index] }
        }
        output.append(copying: bytes.span.bytes)
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) { (false, limit) }
}
