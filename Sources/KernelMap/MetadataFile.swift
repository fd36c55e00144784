import BlockImage
import CLinux
import Glibc
import SystemPackage

/// The file system of a map, in a file without a name, which is gone when nothing has it open any more.
final class MetadataFile {
    /// The folders that are tried in turn: the kernel takes no file of a file system in memory (tmpfs), nor of a stacked one
    /// (overlayfs).
    static var folders: [String] {
        // Safe: a string of the environment, or nil, which is copied.
        let named = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) }
        var folders: [String] = []
        for folder in [named, "/var/tmp", "/var/lib", "/run"] {
            guard let folder, folder.hasPrefix("/"), !folders.contains(folder) else { continue }
            folders.append(folder)
        }
        return folders
    }

    private let handle: FileDescriptor

    /// The descriptor that it is open as.
    var descriptor: CInt { handle.rawValue }

    /// Writes that of `map` in `folder`.
    init(_ map: ExtentMap, in folder: String) throws(MapFault) {
        // Safe: a string of ours.
        let descriptor = unsafe clinux_open_unnamed(folder, 0o400)
        let number = errno
        handle = FileDescriptor(rawValue: descriptor)
        guard descriptor >= 0 else { throw Self.fault(Errno(rawValue: number), "make a file without a name") }
        do {
            try Self.write(map, to: handle)
        } catch {
            throw Self.fault(error as? Errno ?? .ioError, "write the map")
        }
    }

    deinit {
        if handle.rawValue >= 0 { try? handle.close() }
    }

    private static func write(_ map: ExtentMap, to handle: FileDescriptor) throws {
        let deviceCount = map.files.count + (map.needsFallback ? 1 : 0)
        let head = ErofsImage.head(
            size: map.size, blockBits: map.blockBits, chunkBits: map.chunkBits, deviceCount: deviceCount,
            chunkCount: map.index.count)
        try handle.writeAll(head)
        let index = 1.littleEndian == 1 ? map.index : map.index.map(\.littleEndian)
        // Safe: integers are bytes, and they are in the order of the file.
        _ = try unsafe index.withUnsafeBytes { unsafe try handle.writeAll($0) }
        let size = ErofsImage.size(deviceCount: deviceCount, chunkCount: map.index.count)
        guard ftruncate(handle.rawValue, off_t(size)) == 0 else { throw Errno(rawValue: errno) }
    }

    private static func fault(_ number: Errno, _ action: ErrorText) -> MapFault {
        MapFault(
            error: ImageError(
                .system(errno: number.rawValue), about: .named("extent map"), "\(action): \(number.description)"),
            concernsFolder: true)
    }
}
