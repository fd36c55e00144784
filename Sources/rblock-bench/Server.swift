import Foundation
import TestImages

/// Something that shows an image as a flat file, until it is let go of.
protocol Server: AnyObject {
    var name: String { get }
    /// The flat file.
    var path: String { get }
    /// Whether the kernel keeps what is read from it apart from the image file, and must forget it before a measure.
    var hasOwnCache: Bool { get }
}

extension Server {
    var hasOwnCache: Bool { true }
}

/// The disk itself, without any server: the limit.
final class BareFile: Server {
    let name = "bare file"
    let hasOwnCache = false
    let path: String

    init(path: String) {
        self.path = path
    }
}

/// The mount of this project.
final class RBlockServer: Server {
    let name = "rblockfs"
    let path: String
    private let mountpoint: String

    init(_ command: String, image: DiskImage, in folder: TemporaryFolder) throws {
        mountpoint = try folder.makeFolder("mount-\(image.name)")
        path = "\(mountpoint)/\(URL(fileURLWithPath: image.path).lastPathComponent)/disk.raw"
        try Tool.check(command, image.path, mountpoint)
    }

    deinit {
        _ = try? Tool.run("fusermount3", ["-u", mountpoint])
    }
}

/// The FUSE export of QEMU's storage daemon: the best peer for this job.
final class StorageDaemon: Server {
    static let peerName = "qemu-storage-daemon"
    let name = peerName
    let path: String
    private let process = Process()

    init(image: DiskImage, in folder: TemporaryFolder) throws {
        path = folder.file("export-\(image.name)")
        guard let program = Tool.path("qemu-storage-daemon") else {
            throw ToolFailure(description: "qemu-storage-daemon is not installed; 'make deps-bench' installs it")
        }
        try folder.write([], to: "export-\(image.name)")
        let format = image.path.hasSuffix(".vmdk") ? "vmdk" : "qcow2"
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = [
            "--blockdev", "driver=\(format),node-name=disk,read-only=on,file.driver=file,file.filename=\(image.path)",
            // A comma in a value is doubled.
            "--export", "type=fuse,id=e,node-name=disk,mountpoint=\(path.replacing(",", with: ",,"))",
        ]
        try process.run()
        // It says nothing when it is ready; the file under its mount is empty.
        for _ in 0..<100 {
            if let attributes = try? FileManager.default.attributesOfItem(atPath: path), attributes[.size] as? Int != 0
            {
                return
            }
            Thread.sleep(forTimeInterval: 0.1)
        }
        throw ToolFailure(description: "qemu-storage-daemon does not export \(image.path)")
    }

    deinit {
        process.terminate()
        process.waitUntilExit()
    }
}
