import BlockImage
import Glibc
import SystemPackage

/// The names in a folder and what they are, without opening any of them.
public struct FolderListing: Sendable {
    /// One name.
    public struct Entry: Sendable {
        /// The name's bytes.
        public var name: [UInt8]
        /// Whether it is a folder, or a link to one.
        public var isFolder: Bool
    }

    /// The entries, in the folder's own order, without "." and "..".
    public let entries: [Entry]

    /// Lists `folder`. Throws `system` when it cannot be read.
    public init(_ folder: FilePath) throws(ImageError) {
        guard let stream = unsafe folder.withPlatformString({ unsafe opendir($0) }) else {
            throw ImageError.system(Errno(rawValue: errno), path: String(decoding: folder), "list the folder")
        }
        defer { unsafe _ = closedir(stream) }
        var entries: [Entry] = []
        // Safe: what readdir answers stands until the next call, and is copied before that.
        while let entry = unsafe readdir(stream) {
            let name = unsafe Self.name(of: entry)
            guard name != [0x2e], name != [0x2e, 0x2e] else { continue }
            let kind = unsafe Int(entry.pointee.d_type)
            let isFolder =
                switch kind {
                case Int(DT_DIR): true
                case Int(DT_LNK), Int(DT_UNKNOWN):
                    (try? FileStatus(at: folder.appending(FilePath(bytes: name).components)))?.kind == .folder
                default: false
                }
            entries.append(Entry(name: name, isFolder: isFolder))
        }
        self.entries = entries
    }

    private static func name(of entry: UnsafeMutablePointer<dirent>) -> [UInt8] {
        // Safe: d_name ends in NUL within the entry.
        unsafe withUnsafePointer(to: &entry.pointee.d_name) { start in
            unsafe start.withMemoryRebound(to: UInt8.self, capacity: Int(NAME_MAX) + 1) { bytes in
                unsafe Array(UnsafeBufferPointer(start: bytes, count: Int(NAME_MAX) + 1).prefix { $0 != 0 })
            }
        }
    }
}
