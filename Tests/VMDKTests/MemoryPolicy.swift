import BlockImage
import TestImages

/// Opens the files of a dictionary, and no others. Keeps the names that it was asked for.
final class MemoryPolicy: OpenPolicy {
    let files: [String: MemoryFile]
    private let asked = Guarded<[String]>([])

    init(_ files: [String: MemoryFile] = [:]) {
        self.files = files
    }

    /// The names that were asked for, in their order.
    var names: [String] { asked.withLock { $0 } }

    func names(besides file: any HostFile) -> [[UInt8]] { files.keys.map { Array($0.utf8) } }

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        asked.withLock { $0.append(reference.text) }
        guard reference.role != .backing, let found = files[reference.text] else {
            throw ImageError(.denied, path: file.path, "no \(reference.role.rawValue) \"\(reference.text)\" here")
        }
        return found
    }
}
