import BlockImage
import Foundation
import HostStorage
import HostTools
import ImageFormats
import SystemPackage
import TestImages
import Testing

/// A folder of images and an opener that is confined to it.
struct Folder {
    let folder: TemporaryFolder
    private let policy: ConfinedOpenPolicy

    init() throws {
        folder = try TemporaryFolder()
        policy = try ConfinedOpenPolicy(images: FilePath(folder.path))
    }

    /// Writes a QCOW2 image of one unallocated MiB that names a backing file.
    func overlay(_ name: String, over backing: String, format: String? = nil) throws {
        var builder = QCOW2Builder(size: 1 << 20)
        builder.backingFile = backing
        if let format { builder.extensions = [(0xe279_2aca, Array(format.utf8))] }
        try folder.write(builder.build().bytes, to: name)
    }

    /// Opens it as the mount does: by its name.
    func open(_ name: String, ignoresParentID: Bool = false) throws -> OpenedImage {
        let naming = try #require(ImageFormat.naming(of: Array(name.utf8)))
        let format: ImageFormat? = if case .format(let format) = naming { format } else { nil }
        let file = try policy.openImage(at: FilePath(folder.file(name)))
        let resources = LayerResources(cacheSize: 1 << 20)
        var options = OpeningOptions()
        options.ignoresParentID = ignoresParentID
        return ImageOpener(policy: policy, resources: resources, options: options)
            .open(file, as: format, counters: resources.counters)
    }

    func firstByte(of name: String) throws -> UInt8? {
        try open(name).disk.result.get().bytes(1, at: 0).first
    }
}

struct `A backing file's format` {
    @Test(
        arguments: [
            // What the image says goes before the name, the name before the content.
            ("base.qcow2", "raw", 0x51), ("base.qcow2", nil, 8), ("base.img", nil, 8), ("base.img", "qcow2", 8),
            ("base.img", "raw", 0x51), ("copy.raw", nil, 0x51), ("copy.raw", "qcow2", 8), ("nameless", nil, 8),
            ("plain.img", nil, 9), ("plain.img", "file", 9),
            ("base.img", "", 8), ("base.qcow2", "raw\0\0", 0x51),
        ] as [(String, String?, UInt8)])
    func `is what the image says, else its name, else its content`(
        name: String, format: String?, byte: UInt8
    ) throws {
        let folder = try Folder()

        var builder = QCOW2Builder(size: 1 << 20, clusters: [.data])
        builder.isShuffled = false
        var base = builder.build()
        let host = try #require(base.hostOffsets[0])
        base.replace([8], at: Int(host))
        for name in ["base.qcow2", "base.img", "copy.raw", "nameless"] { try folder.folder.write(base.bytes, to: name) }
        try folder.folder.write(Array(repeating: 9, count: 1 << 20), to: "plain.img")
        try folder.overlay("image.qcow2", over: name, format: format)
        #expect(try folder.firstByte(of: "image.qcow2") == byte)
    }

    @Test(arguments: ["dmg", "bochs", "luks", "QCOW2", "nbd"])
    func `that is not supported is named`(format: String) throws {
        let folder = try Folder()
        try folder.folder.write([1], to: "base.raw")
        try folder.overlay("image.qcow2", over: "base.raw", format: format)
        let opened = try folder.open("image.qcow2")
        #expect(opened.disk.error?.code == .unsupported)
        #expect(opened.disk.error?.path == folder.folder.file("image.qcow2"))
        #expect(opened.disk.error?.message.contains("\"\(format)\"") == true)
        #expect(opened.layers.count == 1)
    }

    @Test func `is not believed where the file is of another one`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 1, count: 100_000), to: "base.raw")
        try folder.overlay("image.qcow2", over: "base.raw", format: "qcow2")
        let opened = try folder.open("image.qcow2")
        #expect(opened.disk.error?.code == .corrupt)
        #expect(opened.disk.error?.path == folder.folder.file("base.raw"))
    }
}

struct `A chain` {
    @Test func `without its backing file is an error of the image that names it`() throws {
        let folder = try Folder()
        try folder.overlay("middle.qcow2", over: "none.raw", format: "raw")
        try folder.overlay("image.qcow2", over: "middle.qcow2", format: "qcow2")
        let opened = try folder.open("image.qcow2")
        #expect(opened.disk.error?.code == .system(errno: ENOENT))
        #expect(opened.disk.error?.path == folder.folder.file("middle.qcow2"))
        #expect(opened.layers.map(\.file.path) == ["image.qcow2", "middle.qcow2"].map(folder.folder.file))
    }

    @Test(arguments: [1, 2, 3])
    func `that comes back to a file of its own has no end, and is refused`(length: Int) throws {
        let folder = try Folder()
        for index in 0..<length {
            try folder.overlay("\(index).qcow2", over: "\((index + 1) % length).qcow2", format: "qcow2")
        }
        let opened = try folder.open("0.qcow2")
        #expect(opened.disk.error?.code == .corrupt)
        #expect(opened.disk.error?.message == "backing chain: comes back to this file, and has no end")
        #expect(opened.layers.count == length)
    }

    @Test func `that comes back by another name, a hard or a symbolic link, is refused too`() throws {
        let folder = try Folder()
        for kind in ["hard", "symbolic"] {
            try folder.overlay("a-\(kind).qcow2", over: "b-\(kind).qcow2", format: "qcow2")
            let (from, to) = (folder.folder.file("a-\(kind).qcow2"), folder.folder.file("b-\(kind).qcow2"))
            if kind == "hard" {
                try FileManager.default.linkItem(atPath: from, toPath: to)
            } else {
                try FileManager.default.createSymbolicLink(atPath: to, withDestinationPath: from)
            }
            let error = try folder.open("a-\(kind).qcow2").disk.error
            #expect(error?.message == "backing chain: comes back to this file, and has no end", "\(kind)")
        }
    }

    @Test func `may have as many files as the limit says, and no more`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 5, count: 1 << 20), to: "0.raw")
        try folder.overlay("1.qcow2", over: "0.raw", format: "raw")
        for index in 2...ImageOpener.depthLimit {
            try folder.overlay("\(index).qcow2", over: "\(index - 1).qcow2", format: "qcow2")
        }
        let most = ImageOpener.depthLimit
        #expect(try folder.open("\(most - 1).qcow2").layers.count == most)
        #expect(try folder.firstByte(of: "\(most - 1).qcow2") == 5)
        let error = try folder.open("\(most).qcow2").disk.error
        #expect(error?.code == .unsupported)
        #expect(error?.message == "backing chain: has more than 256 images, which is the limit")
    }

    @Test func `is current as long as every file of it is`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 5, count: 1 << 20), to: "base.raw")
        try folder.overlay("image.qcow2", over: "base.raw", format: "raw")
        let opened = try folder.open("image.qcow2")
        #expect(opened.isCurrent)
        try folder.folder.write([1], to: "base.raw")
        #expect(!opened.isCurrent)
    }

    @Test func `may name only files of the folder`() throws {
        let folder = try Folder()
        for name in ["/etc/passwd", "../x.raw", "json:{}", "nbd:host:1"] {
            try folder.overlay("image.qcow2", over: name, format: "raw")
            #expect(try folder.open("image.qcow2").disk.error?.code == .denied, "\(name)")
        }
    }
}

struct `An image that only its content calls one` {
    @Test func `may not name a backing file, since a guest can write a header to a raw disk`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 5, count: 1 << 20), to: "base.raw")
        try folder.overlay("image.img", over: "base.raw", format: "raw")
        let opened = try folder.open("image.img")
        #expect(opened.disk.error?.code == .denied)
        #expect(opened.disk.error?.message.contains("base.raw") == true)
        #expect(opened.layers.first?.wasProbed == true)
        #expect(opened.layers.first?.format == .qcow2)
    }

    @Test func `may not name one as a backing file of a trusted image either`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 5, count: 1 << 20), to: "base.raw")
        try folder.overlay("planted.img", over: "base.raw", format: "raw")
        try folder.overlay("image.qcow2", over: "planted.img")
        let opened = try folder.open("image.qcow2")
        #expect(opened.disk.error?.code == .denied)
        #expect(opened.disk.error?.path == folder.folder.file("planted.img"))
        try folder.overlay("trusting.qcow2", over: "planted.img", format: "qcow2")
        #expect(try folder.firstByte(of: "trusting.qcow2") == 5)
        try folder.overlay("raw.qcow2", over: "planted.img", format: "raw")
        #expect(try folder.firstByte(of: "raw.qcow2") == 0x51)
    }

    @Test func `may not name the extents of a VMDK`() throws {
        let folder = try Folder()
        try folder.folder.write(Array(repeating: 5, count: 1 << 20), to: "flat.raw")
        let descriptor = """
            # Disk DescriptorFile
            version=1
            CID=12345678
            parentCID=ffffffff
            createType="monolithicFlat"
            RW 2048 FLAT "flat.raw" 0

            """
        try folder.folder.write(Array(descriptor.utf8), to: "image.img")
        try folder.folder.write(Array(descriptor.utf8), to: "image.vmdk")
        #expect(try folder.open("image.img").disk.error?.code == .denied)
        #expect(try folder.firstByte(of: "image.vmdk") == 5)
    }

    @Test func `is read where it names nothing`() throws {
        let folder = try Folder()
        let image = QCOW2Builder(size: 1 << 20, clusters: [.data]).build()
        try folder.folder.write(image.bytes, to: "image.img")
        let opened = try folder.open("image.img")
        #expect(try areSame(opened.disk.result.get().wholeDisk(), image.disk))
        try folder.folder.write([1, 2, 3], to: "raw.img")
        #expect(try folder.open("raw.img").disk.result.get().wholeDisk() == [1, 2, 3])
    }

    @Test func `and one that its name calls raw is raw, whatever it holds`() throws {
        let folder = try Folder()
        try folder.overlay("image.raw", over: "/etc/shadow")
        #expect(try folder.firstByte(of: "image.raw") == 0x51)
    }
}
