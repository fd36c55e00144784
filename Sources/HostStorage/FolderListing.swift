import BlockImage
import Glibc
import SystemPackage

/// The names in a folder and what they are, without looking at any of them.
public struct FolderListing: Sendable {
    /// One name.
    public struct Entry: Hashable, Sendable {
        /// The name's bytes.
        public var name: [UInt8]
        /// What the folder itself says of it.
        public var kind: Kind
    }

    /// What a folder says of an entry without looking at it.
    public enum Kind: Hashable, Sendable {
        /// A folder.
        case folder
        /// A link, which may lead anywhere; or the file system does not tell.
        case link
        /// Anything else.
        case file
    }

    /// The entries, in the folder's own order, without "." and "..".
    public let entries: [Entry]

    /// Lists `folder`. Throws `system` when it cannot be read.
    public init(_ folder: FilePath) throws(ImageError) {
        guard let stream = unsafe folder.withPlatformString({ unsafe opendir($0) }) else {
            throw ImageError.system(Errno(rawValue: errno), path: folder.text, "list the folder")
        }
        defer { unsafe _ = closedir(stream) }
        var entries: [Entry] = []
        // Safe: what readdir answers stands until the next call, and is copied before that.
        while let entry = unsafe readdir(stream) {
            let name = unsafe Self.name(of: entry)
            guard name != [0x2e], name != [0x2e, 0x2e] else { continue }
            let kind = unsafe Int(entry.pointee.d_type)
            switch kind {
            case Int(DT_DIR): entries.append(Entry(name: name, kind: .folder))
            case Int(DT_LNK), Int(DT_UNKNOWN): entries.append(Entry(name: name, kind: .link))
            default: entries.append(Entry(name: name, kind: .file))
            }
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
