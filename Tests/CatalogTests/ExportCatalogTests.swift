import BlockImage
import Catalog
import Foundation
import HostTools
import SystemPackage
import TestImages
import Testing

struct `A catalog of exports` {
    private let folder: TemporaryFolder

    /// A folder `disks` with images, a link out of it and one back into it; and a secret beside it.
    init() throws {
        folder = try TemporaryFolder()
        _ = try folder.makeFolder("disks/sub")
        for name in [
            "disks/a.raw", "disks/a@b.raw", "disks/sub/a.raw", "disks/disk-flat.vmdk", "disks/notes.txt", "secret.raw",
        ] {
            try folder.write([UInt8](repeating: 7, count: 512), to: name)
        }
        for (name, target) in [("out.raw", "../secret.raw"), ("up", ".."), ("loop", "."), ("again.raw", "sub/a.raw")] {
            try FileManager.default.createSymbolicLink(
                atPath: folder.file("disks/\(name)"), withDestinationPath: target)
        }
    }

    private func catalog(_ names: String...) throws -> ExportCatalog {
        try ExportCatalog(names.map { NamedImage(FilePath(folder.file($0))) })
    }

    @Test func `has the images of a folder by their paths below it, and nothing outside`() throws {
        let catalog = try catalog("disks")
        let found = ["a.raw", "a@b.raw", "again.raw", "disk-flat.vmdk", "sub/a.raw"]
        // A link that leads out is named like an image, and listed as in a mount: with why it cannot be read.
        #expect(try catalog.images().keys.sorted().map(\.text) == (found + ["out.raw"]).sorted())
        for name in found where name.hasSuffix("raw") { #expect(try catalog.open(name).name == name) }
        let out = try #require(try catalog.list().first { $0.name == "out.raw" })
        #expect(throws: ImageError.self) { try out.size.get() }
        for name in [
            "out.raw", "secret.raw", "../secret.raw", "disks/a.raw", "./a.raw", "/a.raw", "sub", "sub/", "notes.txt",
            "",
            folder.file("disks/a.raw"), "up/secret.raw", "loop/a.raw", "a.raw@", "a.raw/p1", "a@b",
        ] {
            #expect(throws: ImageError.self, "\(name)") { try catalog.open(name) }
        }
    }

    @Test func `sees what was added, removed and changed`() throws {
        let catalog = try catalog("disks")
        let first = try catalog.open("a.raw")
        #expect(try catalog.open("a.raw").opened === first.opened)
        try folder.write([UInt8](repeating: 8, count: 1024), to: "disks/a.raw")
        #expect(try catalog.open("a.raw").image.virtualSize == 1024)
        try folder.write([1], to: "disks/new.raw")
        #expect(try catalog.images()["new.raw"] != nil)
        #expect(try catalog.open("new.raw").image.virtualSize == 1)
        try FileManager.default.removeItem(atPath: folder.file("disks/new.raw"))
        #expect(throws: ImageError.self) { try catalog.open("new.raw") }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img"))) func `opens at once what was mended`() throws {
        try folder.write([0x51, 0x46, 0x49, 0xfb], to: "disks/b.qcow2")
        let catalog = try catalog("disks")
        #expect(throws: ImageError.self) { try catalog.open("b.qcow2") }
        try Tool.check("qemu-img", "create", "-q", "-f", "qcow2", folder.file("disks/b.qcow2"), "1M")
        #expect(try catalog.open("b.qcow2").image.virtualSize == 1 << 20)
    }

    @Test func `has one image for each name`() throws {
        let several = try catalog("disks", "secret.raw")
        let names = try several.images()
        #expect(names.keys.contains("disks/a.raw") && names.keys.contains("secret.raw"))
        #expect(throws: ImageError.self) { try catalog("disks/a.raw", "disks/sub/a.raw") }
        #expect(throws: ImageError.self) { try catalog("none.raw") }
        #expect(try catalog("secret.raw").open("").name == "secret.raw")
        #expect(throws: ImageError.self) { try several.open("") }
    }

    @Test func `tells of an image why it cannot be read`() throws {
        try folder.write(Array("QFI\u{fb}".unicodeScalars.map { UInt8($0.value) }), to: "disks/bad.qcow2")
        let bad = try #require(try catalog("disks").list().first { $0.name == "bad.qcow2" })
        guard case .failure(let error) = bad.size else {
            Issue.record("\(bad)")
            return
        }
        #expect(error.path.hasSuffix("bad.qcow2"))
    }

    @Test func `takes a long name for missing, at once`() throws {
        let catalog = try catalog("disks")
        let begin = ContinuousClock.now
        for name in [
            String(repeating: "/", count: 1000), String(repeating: ".ova/", count: 800),
            String(repeating: "@", count: 4096),
            String(repeating: "\u{301}@", count: 1000), "a.raw" + String(repeating: "/", count: 5000),
        ] {
            #expect(throws: ImageError.self) { try catalog.open(name) }
        }
        #expect(begin.duration(to: .now) < .seconds(60))
    }

    @Test func `knows the image that a name is of`() throws {
        let catalog = try catalog("disks")
        #expect(catalog.knownImage(of: "a.raw") == nil)
        _ = try catalog.images()
        for (name, image) in [
            ("a.raw", "a.raw"), ("a@b.raw", "a@b.raw"), ("a@b.raw@c/p1", "a@b.raw"), ("a.raw/p1", "a.raw"),
            ("sub/a.raw@x", "sub/a.raw"), ("a@c.raw", nil), ("", nil),
        ] as [(String, String?)] {
            #expect(catalog.knownImage(of: name) == image, "\(name)")
        }
    }

    @Test func `does not call a folder empty that has never answered`() throws {
        let catalog = try ExportCatalog([NamedImage(FilePath(folder.file("disks")))], scanPatience: .zero)
        #expect {
            try catalog.images()
        } throws: {
            ($0 as? ImageError)?.code == .system(errno: ETIMEDOUT)
        }
        _ = try? catalog.list()
        let isThere = HostTools.wait(seconds: 60) { (try? catalog.images().count) ?? 0 > 0 }
        #expect(isThere)
    }

    @Test func `has overlays named as in a mount, and one for each file`() throws {
        func overlay(_ name: String, of catalog: ExportCatalog) throws -> Bool {
            let export = try catalog.open(name)
            let byte: [UInt8] = [8]
            try export.write(byte.span.bytes, at: 100)
            return export.isWritable
        }
        func catalog(_ names: [String], _ overlays: String) throws -> ExportCatalog {
            try ExportCatalog(
                names.map { NamedImage(FilePath(folder.file($0))) }, overlay: FilePath(folder.file(overlays)))
        }
        func isThere(_ name: String) -> Bool {
            FileManager.default.fileExists(atPath: folder.file("\(name).overlay.qcow2"))
        }
        let one = try catalog(["disks"], "o")
        #expect(try overlay("sub/a.raw", of: one) && isThere("o/sub/a.raw"))
        let several = try catalog(["disks", "secret.raw"], "p")
        #expect(try overlay("disks/a.raw", of: several) && isThere("p/disks/a.raw"))
        #expect(try overlay("secret.raw", of: several) && isThere("p/secret.raw"))
        #expect(several.end().isEmpty)
        // By two names one file has one overlay.
        let first = NamedImage(FilePath(folder.file("disks/a.raw")))
        let rivals = try ExportCatalog(
            [first, NamedImage(FilePath(folder.file("disks")))], overlay: FilePath(folder.file("q")))
        #expect(try overlay("a.raw", of: rivals) && isThere("q/a.raw"))
        #expect(try overlay("disks/a.raw", of: rivals))
        #expect(!isThere("q/disks/a.raw"))
        #expect(try overlay("disks/sub/a.raw", of: rivals) && isThere("q/disks/sub/a.raw"))
    }
}
