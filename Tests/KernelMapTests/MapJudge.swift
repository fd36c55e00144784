import BlockImage
import Foundation
import HostStorage
import HostTools
import ImageFormats
import SystemPackage
import TestImages

@testable import KernelMap

/// Whether tests that have the kernel read maps can run. Says why not.
let canMap: Bool = {
    guard Tool.isRoot, Tool.areThere("qemu-img", "qemu-io") else {
        return Tool.skip("extent maps need root and qemu-img")
    }
    var name = utsname()
    uname(&name)
    let release = withUnsafeBytes(of: &name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    guard !numbers.lexicographicallyPrecedes([6, 12]), Tool.knowsFileSystem("erofs") else {
        return Tool.skip("extent maps need Linux 6.12 with EROFS, and this is \(release)")
    }
    return true
}()

/// A folder of images, what the kernel reads of them through a map, and what qemu-img reads.
struct MapJudge {
    let folder: TemporaryFolder
    let policy: ConfinedOpenPolicy

    init() throws {
        folder = try TemporaryFolder()
        policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
    }

    /// Opens the image `name`; of its snapshots, the one at `snapshot`.
    func open(_ name: String, as format: ImageFormat, snapshot: Int? = nil) throws -> Image {
        let resources = LayerResources(cacheSize: 6 << 20)
        let file = try policy.openImage(at: FilePath(folder.file(name)))
        let opened = ImageOpener(policy: policy, resources: resources, options: OpeningOptions())
            .open(file, as: format, counters: resources.counters)
        guard let snapshot else { return try opened.disk.result.get() }
        guard let disk = opened.snapshotDisk(snapshot) else {
            throw ToolFailure(description: "no snapshot \(snapshot)")
        }
        return try disk.result.get()
    }

    /// Copies the disk of `name` to a raw file by qemu-img.
    func convert(_ name: String, as format: ImageFormat, options: String = "") throws -> String {
        let raw = "\(name).judge"
        try Shell.check(
            "qemu-img convert -q -U -f $1 -O raw $4 \"$2\" \"$3\"", format.rawValue, folder.file(name),
            folder.file(raw), options)
        return raw
    }

    /// The disk as the kernel has it, with the file `raw` as fallback, which then ends at a multiple of 4096.
    func map(_ image: Image, fallback raw: String) throws -> (map: ExtentMap, disk: MappedDisk) {
        let size = try FileHandle(forUpdating: URL(fileURLWithPath: folder.file(raw)))
        try size.truncate(atOffset: (image.virtualSize + 4095) / 4096 * 4096)
        let directory = Glibc.open(folder.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { close(directory) }
        let map = try ExtentMap(of: image)
        let fallback = MapFallback(folder: directory, name: raw)
        return (map, try MappedDisk(map, of: image, fallback: fallback, folders: MetadataFile.folders))
    }

    /// Where the kernel reads something else than `raw` has, as a sentence; nil where all is right.
    func difference(_ disk: MappedDisk, by map: ExtentMap, from raw: String) throws -> String? {
        let expected = try Data(contentsOf: URL(fileURLWithPath: folder.file(raw)), options: .alwaysMapped)
        var size = stat()
        fstat(disk.descriptor, &size)
        guard UInt64(size.st_size) == map.size else { return "the file has \(size.st_size) bytes" }
        var position = 0
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        while position < Int(size.st_size) {
            let count = pread(disk.descriptor, &bytes, bytes.count, off_t(position))
            guard count > 0 else { return "pread at \(position): \(count), errno \(errno)" }
            let part = expected[position..<min(position + count, expected.count)]
            if !areSame(bytes[..<count], part) {
                let index = zip(bytes, part).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? 0
                return "byte \(position + index) is wrong"
            }
            position += count
            // Of a large disk, its ends and every 128th part.
            if size.st_size > 256 << 20, position < Int(size.st_size) - 130 << 20 { position += 127 << 20 }
        }
        return nil
    }
}
