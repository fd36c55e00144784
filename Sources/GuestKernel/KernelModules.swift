import BlockImage
import HostStorage
import SystemPackage

/// The modules of a kernel that a machine needs, in an order in which each finds what it needs.
struct KernelModules: Sendable {
    /// The files.
    let files: [FilePath]

    /// For every machine.
    private static let common = ["virtio_mmio", "virtio_blk", "virtio_console"]

    /// What else `type` needs than the module of its own name: what modprobe(8) would load, as the kernel asks for it.
    private static let others: [String: [String]] = [
        "xfs": ["crc32c_generic", "libcrc32c"],
        "btrfs": ["crc32c_generic", "libcrc32c", "xxhash_generic", "sha256_generic", "blake2b_generic"],
        "ext4": ["crc32c_generic"], "ext3": ["crc32c_generic", "ext4"], "ext2": ["ext4"],
        "f2fs": ["crc32_generic"],
        "vfat": ["nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"], "exfat": ["nls_utf8"],
        "ntfs3": ["nls_utf8"], "hfsplus": ["nls_utf8"], "jfs": ["nls_utf8"], "udf": ["nls_utf8"],
        "iso9660": ["isofs", "nls_utf8"],
    ]

    /// Those of `kernel` for file systems of the `types`. What is no module is in the kernel, or not there at all: then the
    /// type cannot be mounted.
    init(of kernel: KernelFiles, for types: Set<String>) throws(ImageError) {
        let index = try ModuleIndex(kernel.modules)
        var order = ModuleOrder(index)
        for name in Self.common { try order.add(name) }
        for type in types.sorted() {
            for name in Self.others[type] ?? [] { try order.add(name) }
            try order.add(type)
        }
        files = order.files
    }
}

/// Where the modules of a kernel are, and which others each needs.
private struct ModuleIndex {
    /// The files by name, with `_` for `-`.
    private(set) var files: [String: FilePath] = [:]
    /// What modules.dep(5) says, by name; nil: there is none, as in a package that was unpacked only.
    private var needs: [String: [String]]?

    init(_ folder: FilePath) throws(ImageError) {
        guard let text = try smallFile(folder.appending("modules.dep")) else {
            try collect(folder.appending("kernel"), depth: 0)
            return
        }
        var needs: [String: [String]] = [:]
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 1)
            guard let path = parts.first, let name = Self.name(of: String(path)) else { continue }
            files[name] = folder.pushing(FilePath(String(path)))
            needs[name] = parts.count < 2 ? [] : parts[1].split(separator: " ").compactMap { Self.name(of: String($0)) }
        }
        self.needs = needs
    }

    private mutating func collect(_ folder: FilePath, depth: Int) throws(ImageError) {
        guard depth < 12 else { return }
        for entry in try FolderListing(folder).entries {
            let path = folder.appending(String(decoding: entry.name, as: UTF8.self))
            if entry.kind == .folder {
                try collect(path, depth: depth + 1)
            } else if let name = Self.name(of: path.string) {
                files[name] = path
            }
        }
    }

    /// The name of the module in a file; nil for other files.
    private static func name(of path: String) -> String? {
        let file = path.split(separator: "/").last.map(String.init) ?? ""
        guard let end = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].first(where: { file.hasSuffix($0) }) else { return nil }
        return normalized(String(file.dropLast(end.count)))
    }

    static func normalized(_ name: String) -> String {
        String(name.map { $0 == "-" ? "_" : $0 })
    }

    /// The modules that must be loaded before `name`.
    func needs(of name: String) throws(ImageError) -> [String] {
        if let needs { return needs[name] ?? [] }
        guard let path = files[name], let bytes = try smallFile(path) else { return [] }
        // The section .modinfo has texts that end in NUL; one is `depends=a,b`.
        let key = Array("\u{0}depends=".utf8)
        guard let start = FirstRange.of(key, in: bytes) else { return [] }
        let list = String(decoding: bytes[start...].prefix { $0 != 0 }, as: UTF8.self)
        return list.split(separator: ",").map { Self.normalized(String($0)) }
    }
}

/// Looks for bytes.
private enum FirstRange {
    /// Where the bytes after the first `key` in `bytes` begin.
    static func of(_ key: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= key.count, let first = key.first else { return nil }
        var position = 0
        while let found = bytes[position...].firstIndex(of: first), found <= bytes.count - key.count {
            if bytes[found..<(found + key.count)].elementsEqual(key) { return found + key.count }
            position = found + 1
        }
        return nil
    }
}

/// Modules in the order in which they are loaded.
private struct ModuleOrder {
    let index: ModuleIndex
    private(set) var files: [FilePath] = []
    private var known: Set<String> = []

    init(_ index: ModuleIndex) { self.index = index }

    /// Adds the module `name`, and before it those that it needs.
    mutating func add(_ name: String) throws(ImageError) {
        let name = ModuleIndex.normalized(name)
        guard known.insert(name).inserted else { return }
        for needed in try index.needs(of: name) { try add(needed) }
        if let file = index.files[name] { files.append(file) }
    }
}
