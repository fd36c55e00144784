import BlockImage
import FormatCore
import Foundation
import ImageFormats
import TestImages
import Testing

/// Opens files of memory by their names, whatever folder these say.
private struct Files: OpenPolicy {
    let files: [String: any HostFile]

    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        let name = reference.text.split(separator: "/").last.map(String.init) ?? ""
        guard let found = files[name] else { throw ImageError(.system(errno: ENOENT), path: name, "is not there") }
        return found
    }

    func names(besides file: any HostFile) -> [[UInt8]] { files.keys.map { Array($0.utf8) } }
}

private func opened(_ name: String, _ format: ImageFormat, _ files: [String: any HostFile]) throws -> OpenedImage {
    ImageOpener(policy: Files(files: files), resources: LayerResources(cacheSize: 1 << 20))
        .open(try #require(files[name]), as: format, counters: ReadCounters())
}

struct `A raw disk in parts` {
    @Test func `that have more bytes together than a disk may have is damaged`() throws {
        var files: [String: any HostFile] = [:]
        for name in ["disk.001", "disk.002", "disk.003", "disk.004"] {
            files[name] = PagedFile(Pages(size: 1 << 62), path: name)
            let error = try opened("disk.001", .splitRaw, files).disk.error
            #expect((error?.code == .corrupt) == (files.count > 1), "\(files.count): \(String(describing: error))")
        }
    }
}

struct `A disk descriptor of Parallels` {
    private static let top = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
    private static let other = "{11111111-1111-1111-1111-111111111111}"

    private func storage(_ start: Int, _ end: Int, _ images: [(guid: String, file: String)]) -> String {
        "<Storage><Start>\(start)</Start><End>\(end)</End>"
            + images.map {
                "<Image><GUID>\($0.guid)</GUID><Type>Compressed</Type><File>\($0.file)</File></Image>"
            }.joined() + "</Storage>"
    }

    private func disk(_ size: Int, _ storages: [String], shots: [String] = [top]) throws -> OpenedImage {
        let text =
            "<?xml version='1.0'?><Parallels_disk_image><Disk_Parameters><Disk_size>\(size)</Disk_size></Disk_Parameters>"
            + "<StorageData>\(storages.joined())</StorageData><Snapshots>"
            + shots.map { "<Shot><GUID>\($0)</GUID></Shot>" }.joined() + "</Snapshots></Parallels_disk_image>"
        let image = ClusterImageBuilder(.parallels, size: 64 << 9, clusterBits: 9).build().bytes
        return try opened(
            "DiskDescriptor.xml", .parallels,
            [
                "DiskDescriptor.xml": MemoryFile(Array(text.utf8), path: "DiskDescriptor.xml"),
                "a.hds": MemoryFile(image, path: "a.hds", identity: FileIdentity(device: 1, inode: 1)),
            ])
    }

    @Test(arguments: [
        ([(0, 64), (96, 128)], 128, "Start is 96, but must be 64"), ([(32, 64)], 64, "Start is 32, but must be 0"),
        ([(0, 64), (32, 64)], 64, "Start is 32, but must be 64"),
        ([(0, 64)], 128, "ends at sector 64, but the disk has 128"),
    ])
    func `with a storage missing gives no disk`(parts: [(Int, Int)], size: Int, words: String) throws {
        let error = try disk(size, parts.map { storage($0.0, $0.1, [(Self.top, "a.hds")]) }).disk.error
        #expect(error?.code == .corrupt && error?.text.description.contains("DiskDescriptor.xml") == true)
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
    }

    @Test func `opens one file once, whatever names it has for it`() throws {
        let image = try disk(128, [storage(0, 64, [(Self.top, "a.hds")]), storage(64, 128, [(Self.top, "./a.hds")])])
        #expect(try image.disk.result.get().virtualSize == 128 * 512)
        let result = try #require(try (image.layers.first?.image as? any CheckableImage)?.check { _ in })
        #expect(result.totalClusters == 64 && result.findings.isEmpty)
    }

    @Test func `needs the images of its disk, and not those of another snapshot`() throws {
        let images = [(Self.top, "a.hds"), (Self.other, "gone.hds")]
        let image = try disk(64, [storage(0, 64, images)], shots: [Self.top, Self.other])
        #expect(try image.disk.result.get().virtualSize == 64 * 512)
        let bundle = try #require(image.layers.first?.image as? any SnapshotImage)
        #expect(bundle.snapshots.count == 1)
        let error = #expect(throws: ImageError.self) { try bundle.layer(ofSnapshot: 0) }
        #expect(error?.text.description.contains("gone.hds") == true, "\(String(describing: error))")
    }

    @Test func `names so many images, and no more`() throws {
        let images = (0..<1025).map { ("{\($0)}", "a.hds") }
        let error = try disk(64, [storage(0, 64, [(Self.top, "a.hds")] + images)]).disk.error
        #expect(error?.message.contains("1026 images") == true && error?.message.contains("1024") == true)
        #expect(try disk(64, [storage(0, 64, [(Self.top, "a.hds")] + images.prefix(1023))]).disk.error == nil)
    }
}
