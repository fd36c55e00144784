import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

struct `The place of a new image` {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    private func names() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }

    private func text(_ name: String) throws -> String {
        try String(contentsOfFile: folder.file(name), encoding: .utf8)
    }

    private func destination(
        _ name: String, replaces: Bool = false, sources: Set<FileIdentity> = []
    ) throws(ImageError) -> any ImageDestination {
        var options = DestinationOptions()
        options.replaces = replaces
        options.sources = sources
        return try imageDestination(at: FilePath(folder.file(name)), options)
    }

    @Test func `has nothing until all is written, and then all of it`() throws {
        let place = try destination("disk.vmdk")
        #expect(place.imageName == "disk.vmdk")
        let image = try place.file(named: "disk.vmdk")
        let extent = try place.file(named: "disk-flat.vmdk")
        try image.write(Array("text".utf8), at: HostOffset(0))
        try extent.write([1, 2, 3], at: HostOffset(100_000))
        try extent.setSize(200_000)
        #expect(try names() == [])
        #expect(image.path == folder.file("disk.vmdk") && extent.path == folder.file("disk-flat.vmdk"))
        try place.place()
        #expect(try names() == ["disk-flat.vmdk", "disk.vmdk"])
        #expect(try text("disk.vmdk") == "text")
        let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file("disk-flat.vmdk")))
        #expect(bytes.count == 200_000 && Array(bytes[99_999..<100_004]) == [0, 1, 2, 3, 0])
        let status = try FileStatus(at: FilePath(folder.file("disk-flat.vmdk")))
        #expect(status.allocatedSize <= 16384)
    }

    @Test func `stays empty where it is not finished`() throws {
        do {
            let place = try destination("disk.raw")
            try place.file(named: "disk.raw").write([1], at: HostOffset(0))
        }
        #expect(try names() == [])
    }

    @Test func `is not taken from what is there, unless that is wanted`() throws {
        try folder.write([1], to: "disk.raw")
        let error = #expect(throws: ImageError.self) { _ = try destination("disk.raw") }
        #expect(error?.code == .system(errno: EEXIST) && error?.hint?.contains("--force") == true)
        let place = try destination("disk.raw", replaces: true)
        try place.file(named: "disk.raw").write(Array("new".utf8), at: HostOffset(0))
        #expect(try text("disk.raw") == "\u{1}")
        try place.place()
        #expect(try text("disk.raw") == "new")
        #expect(try names() == ["disk.raw"])
    }

    @Test func `is not taken from what came there meanwhile, nor are those beside it`() throws {
        let place = try destination("disk.vmdk")
        try place.file(named: "disk.vmdk").write([1], at: HostOffset(0))
        try place.file(named: "disk-flat.vmdk").write([2], at: HostOffset(0))
        try folder.write(Array("other".utf8), to: "disk.vmdk")
        let error = #expect(throws: ImageError.self) { try place.place() }
        #expect(error?.code == .system(errno: EEXIST) && error?.hint?.contains("--force") == true)
        #expect(try text("disk.vmdk") == "other")
        #expect(try names() == ["disk.vmdk"])
        // What lies beside it is looked at as well.
        try folder.write([1], to: "more-flat.vmdk")
        let more = try destination("more.vmdk")
        #expect(throws: ImageError.self) { _ = try more.file(named: "more-flat.vmdk") }
    }

    @Test func `is never one of the sources, by whatever name`() throws {
        try folder.write([1], to: "disk.raw")
        try FileManager.default.linkItem(atPath: folder.file("disk.raw"), toPath: folder.file("hard.raw"))
        try FileManager.default.createSymbolicLink(atPath: folder.file("soft.raw"), withDestinationPath: "disk.raw")
        let identity = try FileStatus(at: FilePath(folder.file("disk.raw"))).identity
        for name in ["disk.raw", "hard.raw", "soft.raw"] {
            let error = #expect(throws: ImageError.self) {
                _ = try destination(name, replaces: true, sources: [identity])
            }
            #expect(error?.code == .denied, "\(name)")
        }
    }

    @Test func `is where a link leads, and nowhere where that leads nowhere`() throws {
        _ = try folder.makeFolder("other")
        try folder.write([1], to: "other/disk.raw")
        try FileManager.default.createSymbolicLink(
            atPath: folder.file("link.raw"), withDestinationPath: "other/disk.raw")
        let place = try destination("link.raw", replaces: true)
        try place.file(named: place.imageName).write(Array("new".utf8), at: HostOffset(0))
        try place.place()
        #expect(try text("other/disk.raw") == "new")
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder.file("link.raw")) == "other/disk.raw")
        try FileManager.default.removeItem(atPath: folder.file("other/disk.raw"))
        let error = #expect(throws: ImageError.self) { _ = try destination("link.raw") }
        #expect(error?.code == .denied && error?.message.contains("link") == true)
    }

    @Test(arguments: ["fifo", "folder", "folder/", "/dev/null", "no/disk.raw", ".", "..", "/"])
    func `is no place where no file can be`(name: String) throws {
        #expect(mkfifo(folder.file("fifo"), 0o600) == 0)
        _ = try folder.makeFolder("folder")
        let path = name.hasPrefix("/") ? name : folder.file(name)
        var options = DestinationOptions()
        options.replaces = true
        let error = #expect(throws: ImageError.self) { _ = try imageDestination(at: FilePath(path), options) }
        #expect(error?.code == (name == "no/disk.raw" ? .system(errno: ENOENT) : .denied))
    }

    @Test func `is what its name says, also where that is not UTF-8`() throws {
        let name = FilePath(bytes: Array("\(folder.path)/d".utf8) + [0xff, 0xfe] + Array(".raw".utf8))
        let place = try imageDestination(at: name, DestinationOptions())
        try place.file(named: place.imageName).write([1], at: HostOffset(0))
        try place.place()
        #expect(try FileStatus(at: name).size == 1)
    }

    @Test(arguments: [false, true])
    func `has space that was set aside`(isFilled: Bool) throws {
        let place = try destination("disk.raw")
        let file = try place.file(named: "disk.raw")
        try file.reserve(3_000_000, at: HostOffset(0), isFilled: isFilled)
        try file.write([7], at: HostOffset(1_000_000))
        try place.place()
        let status = try FileStatus(at: FilePath(folder.file("disk.raw")))
        #expect(status.size == 3_000_000 && status.allocatedSize >= 3_000_000)
        let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.raw")))
        #expect(bytes.count { $0 != 0 } == 1 && bytes[1_000_000] == 7)
    }

    @Test(.enabled(if: Tool.canUseLoopDevices("mkfs.xfs", "filefrag")))
    func `shares space where the file system can`() throws {
        let system = try HostFileSystem("xfs", size: 400 << 20)
        let (source, path) = (system.file("source"), system.file("disk.raw"))
        try Pattern.writeDisk(source, size: 4 << 20, seed: 1)
        let policy = try ConfinedOpenPolicy(images: FilePath(system.path))
        let file = try policy.openImage(at: FilePath(source))
        let bytes = try file.bytes(4 << 20, at: HostOffset(0), of: "all")
        let place = try imageDestination(at: FilePath(path), DestinationOptions())
        let new = try place.file(named: "disk.raw")
        let stored = StoredBytes(file: file, offset: HostOffset(0))
        // Shifted by a block, and with an end that is none.
        try new.write(bytes.span.bytes.extracting(0..<3 << 20), at: HostOffset(4096), stored: stored)
        try new.write([1, 2, 3], at: HostOffset(8 << 20))
        try new.write(
            bytes.span.bytes.extracting(0..<5000), at: HostOffset(16 << 20), stored: stored)
        try place.place()
        let written = try Data(contentsOf: URL(fileURLWithPath: path))
        #expect(areSame(written[4096..<4096 + 3 << 20], bytes[0..<3 << 20]))
        #expect(areSame(written[(16 << 20)...], bytes[0..<5000]))
        #expect(try Shell.check("filefrag -v \"$1\"", path).contains("shared"))
        withExtendedLifetime(system) {}
    }
}

@Suite(.enabled(if: Tool.canUseLoopDevices()))
struct `A device that becomes a disk` {
    @Test(arguments: [false, true])
    func `has zeros where nothing is written, up to the end of the disk`(isZero: Bool) throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(Array(repeating: 0xee, count: 8 << 20), to: "device")
        let loop = try LoopDevice(path, isWritable: true)
        var options = DestinationOptions()
        options.isZero = isZero
        #expect(throws: ImageError.self) { _ = try imageDestination(at: FilePath(loop.path), options) }
        options.replaces = true
        let place = try imageDestination(at: FilePath(loop.path), options)
        let file = try place.file(named: place.imageName)
        try file.setSize(6 << 20)
        try file.write([1, 2, 3, 4], at: HostOffset(4096))
        try file.write([5], at: HostOffset(5 << 20))
        try place.place()
        try loop.detach()
        let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        var expected = [UInt8](repeating: isZero ? 0xee : 0, count: 6 << 20) + Array(repeating: 0xee, count: 2 << 20)
        for (index, byte) in [1, 2, 3, 4].enumerated() { expected[4096 + index] = UInt8(byte) }
        expected[5 << 20] = 5
        #expect(areSame(bytes, expected))
    }

    @Test func `must be large enough, free, and no source`() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(Array(repeating: 0xee, count: 1 << 20), to: "device")
        let loop = try LoopDevice(path, isWritable: true)
        var options = DestinationOptions()
        options.replaces = true
        let small = try imageDestination(at: FilePath(loop.path), options)
        let error = #expect(throws: ImageError.self) {
            try small.file(named: small.imageName).setSize(1 << 20 + 1)
        }
        #expect(error?.code == .system(errno: ENOSPC))
        // It is open once, for itself.
        let busy = #expect(throws: ImageError.self) { _ = try imageDestination(at: FilePath(loop.path), options) }
        #expect(busy?.code == .system(errno: EBUSY))
        options.sources = [try #require(try DeviceFile(at: FilePath(loop.path)).identity)]
        let source = #expect(throws: ImageError.self) { _ = try imageDestination(at: FilePath(loop.path), options) }
        #expect(source?.code == .denied)
        withExtendedLifetime(small) {}
    }
}
