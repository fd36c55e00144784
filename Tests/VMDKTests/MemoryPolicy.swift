import BlockImage
import TestImages

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

extension [UInt8] {
    /// Puts the little-endian bytes of `value` at `offset`.
    mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            self[offset + index] = UInt8(truncatingIfNeeded: value >> Value(index * 8))
        }
    }
}
