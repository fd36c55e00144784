import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

struct `A block device` {
    @Test(.enabled(if: Tool.canUseLoopDevices()))
    func `is read, and has its size, until it is another`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("disk.raw")
        try Pattern.writeDisk(path, size: 1 << 20, seed: 1)
        let loop = try LoopDevice(path)
        let device = try DeviceFile(at: FilePath(loop.path))
        #expect(device.size == 1 << 20 && device.allocatedSize == device.size && device.path == loop.path)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        let buffer = AlignedBuffer(capacity: 5000)
        try buffer.fill(5000) { output throws(ImageError) in try device.read(5000, at: HostOffset(777), into: &output) }
        #expect(areSame(buffer.array, bytes[777..<5777]))
        #expect(device.run(at: HostOffset(0), limit: 4096) == (false, 4096))
        // Two openings are of one device, which is not the file behind it.
        let again = try DeviceFile(at: FilePath(loop.path))
        #expect(device.identity == again.identity && device.id != again.id)
        let policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
        #expect(device.identity != (try policy.openImage(at: FilePath(path))).identity)
        #expect(device.isCurrent && device.isUnchanged)
        let file = try #require(FileHandle(forWritingAtPath: path))
        try file.truncate(atOffset: 2 << 20)
        try Tool.check("losetup", "-c", loop.path)
        #expect(!device.isCurrent && !device.isUnchanged)
        #expect(device.size == 1 << 20)
    }

    @Test(arguments: ["/dev/zero", "/dev", "fifo", "file"])
    func `is nothing else, and nothing else is waited for`(name: String) throws {
        let folder = try TemporaryFolder()
        #expect(mkfifo(folder.file("fifo"), 0o600) == 0)
        try folder.write([1], to: "file")
        let path = name.hasPrefix("/") ? name : folder.file(name)
        let error = #expect(throws: ImageError.self) { _ = try DeviceFile(at: FilePath(path)) }
        #expect(error?.code == .denied && error?.path == path)
    }

    @Test func `that is not there says so`() {
        let error = #expect(throws: ImageError.self) { _ = try DeviceFile(at: "/dev/no-such-device") }
        #expect(error?.code == .system(errno: ENOENT))
    }
}
