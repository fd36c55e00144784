import BlockImage
import CLinux
import Glibc
import SystemPackage

/// A disk as a file of the kernel's, in which it finds the bytes by itself: the one file of a file system that is mounted in
/// no folder. The map itself is not kept: the kernel reads it in a file. Nothing of it is left when this object and all that was opened of the file are gone, however the process ended.
///
/// Reading it reads the image files behind it, past this process, in whatever state they are by then. What the process
/// serves itself, as the fallback, it must not read on a thread that it needs to serve it.
public final class MappedDisk: Sendable {
    /// Open on the disk, for reading.
    private let handle: FileDescriptor

    /// The descriptor that is open on the disk, for reading.
    public var descriptor: CInt { handle.rawValue }

    /// Mounts `map`, which is one of `image`, and compares some bytes of it with those of the image. `reading` reads so many
    /// bytes of the disk at an offset, on threads of its own: what of it the kernel cannot find, for as long as anything
    /// has the map open.
    ///
    /// Throws `system` where the kernel or the host refuse it, and `corrupt` where the kernel reads other bytes: a mount that
    /// succeeds proves nothing.
    public convenience init(
        _ map: ExtentMap, of image: Image,
        reading: @escaping @Sendable (_ count: Int, _ offset: UInt64, inout OutputRawSpan) throws(ImageError) -> Void
    ) throws(ImageError) {
        guard map.needsFallback else {
            try self.init(map, of: image, fallback: nil, folders: MetadataFile.folders)
            return
        }
        let root: CInt
        do throws(MapFault) {
            root = try FallbackServer.start(size: map.size, read: reading)
        } catch {
            throw error.error
        }
        defer { close(root) }
        let fallback = MapFallback(folder: root, name: FallbackServer.name)
        try self.init(map, of: image, fallback: fallback, folders: MetadataFile.folders)
    }

    /// The same with its metadata in the first of `folders` that the kernel takes it from.
    init(_ map: ExtentMap, of image: Image, fallback: MapFallback?, folders: [String]) throws(ImageError) {
        guard fallback != nil || !map.needsFallback else {
            throw ImageError(
                .unsupported, about: .disk, "\(map.fallbackSize) bytes of it are in no file as they are")
        }
        let samples = try MapSample.all(of: map, as: image)
        let devices = try MapDevices(map.files)
        var refusals: [ErrorText] = []
        for folder in folders {
            do throws(MapFault) {
                let metadata = try MetadataFile(map, in: folder)
                let opening = MapOpening(
                    metadata: metadata.descriptor, devices: devices.descriptors,
                    fallback: map.needsFallback ? fallback : nil,
                    samples: samples, blockSize: 1 << map.blockBits)
                handle = try opening.open()
                return
            } catch {
                guard error.concernsFolder else { throw error.error }
                refusals.append("\(path: folder): \(error.error.detail)")
            }
        }
        throw ImageError(
            .system(errno: ENOTBLK), about: .named("extent map"), ErrorText(refusals, separator: "; "),
            hint: "TMPDIR can name a folder of a file system on a disk, such as ext4, XFS or btrfs")
    }

    deinit {
        try? handle.close()
    }
}

/// A file that is a disk byte for byte: in a folder that is open as `folder`.
struct MapFallback {
    var folder: CInt
    var name: String
}

/// Why there is no map.
struct MapFault: Error {
    var error: ImageError
    /// Whether another folder for the metadata may help.
    var concernsFolder = false
}
