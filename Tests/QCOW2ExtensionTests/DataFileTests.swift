import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@testable import QCOW2

struct `An external data file` {
    private static let commands = [
        "write -P 1 0 64k", "write -P 2 200k 70k", "write -z 300k 10k", "write -z 64k 64k", "write -z -u 512k 128k",
        "discard 0 64k", "write -P 4 900k 50k",
    ]

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io")),
        arguments: [
            "data_file=d.raw", "data_file=d.raw,data_file_raw=on", "data_file=d.raw,extended_l2=on",
            "data_file=d.raw,data_file_raw=on,extended_l2=on,cluster_size=16k", "data_file=d.raw,cluster_size=4k",
        ])
    func `is read as qemu reads it`(options: String) throws {
        let images = try Images()
        try images.create("x.qcow2", options, size: "1000k")
        try images.agrees("x.qcow2")
        try images.io("x.qcow2", Self.commands)
        try images.agrees("x.qcow2")
        let files = try #require(try images.open("x.qcow2").layers.first).files
        #expect(files.map(\.path) == [images.path("x.qcow2"), images.path("d.raw")])
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `is read over a backing file`() throws {
        let images = try Images()
        try Pattern.writeDisk(images.path("base.raw"), size: 900_000, seed: 3)
        try images.create("x.qcow2", "data_file=d.raw", size: "1000k", backing: "base.raw")
        try images.io("x.qcow2", Self.commands)
        try images.agrees("x.qcow2")
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `is the disk, byte for byte, where the image says that it is raw`() throws {
        let images = try Images()
        try images.create("x.qcow2", "data_file=d.raw,data_file_raw=on", size: "1M")
        try images.io("x.qcow2", Self.commands)
        #expect(try images.open("x.qcow2").disk.result.get().firstDifference(from: images.path("d.raw")) == nil)
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `has a name that is taken as it stands`() throws {
        let images = try Images()
        try images.create("x.qcow2", "data_file=d.raw", size: "1M")
        try images.io("x.qcow2", ["write -P 5 0 64k"])
        // As a backing file's name this would be refused as a protocol: here it is no more than a name.
        var bytes = try images.bytes("x.qcow2")
        let place = try #require(bytes.firstRange(of: Array("d.raw".utf8))).lowerBound
        bytes.replaceSubrange(place..<place + 5, with: Array("n:raw".utf8))
        try images.folder.write(bytes, to: "x.qcow2")
        try FileManager.default.moveItem(atPath: images.path("d.raw"), toPath: images.path("n:raw"))
        #expect(try images.open("x.qcow2").disk.result.get().bytes(4, at: 0) == [5, 5, 5, 5])
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that is not there, or may not be opened, is an error of the image`() throws {
        let images = try Images()
        try images.create("x.qcow2", "data_file=d.raw", size: "1M")
        try FileManager.default.removeItem(atPath: images.path("d.raw"))
        let missing = try images.open("x.qcow2")
        #expect(missing.disk.error?.code == .system(errno: ENOENT))
        #expect(missing.disk.error?.message.contains("data file \"d.raw\"") == true)
        // It is described all the same, as qemu-img does.
        #expect(try images.differencesOfInfo("x.qcow2", missing) == [])

        var bytes = try images.bytes("x.qcow2")
        let place = try #require(bytes.firstRange(of: Array("d.raw".utf8))).lowerBound
        bytes.replaceSubrange(place..<place + 5, with: Array("/etc/".utf8))
        try images.folder.write(bytes, to: "x.qcow2")
        #expect(try images.open("x.qcow2").disk.error?.code == .denied)
        let error = imageError { _ = try openInMemory(bytes) }
        #expect(
            error
                == ImageError(
                    .denied, path: "memory.img", offset: HostOffset(72),
                    "data file \"/etc/\": it holds the clusters, but was not opened"))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that is not named, or cannot be what it is said to be, is refused`() throws {
        let images = try Images()
        try images.create("x.qcow2", "data_file=d.raw", size: "1M")
        var bytes = try images.bytes("x.qcow2")
        let place = try #require(bytes.firstRange(of: Array("ATAD".utf8).reversed())).lowerBound
        bytes[place] = 0x58
        try images.folder.write(bytes, to: "unnamed.qcow2")
        let unnamed = try images.open("unnamed.qcow2")
        #expect(
            unnamed.disk.error
                == ImageError(
                    .unsupported, path: images.path("unnamed.qcow2"), offset: HostOffset(72),
                    "incompatible_features: uses an external data file, but no header extension gives its name"))
        #expect(try images.differencesOfInfo("unnamed.qcow2", unnamed) == [])
        #expect(throws: ToolFailure.self) { try images.converted("unnamed.qcow2") }

        try images.create("plain.qcow2", "", size: "1M")
        bytes = try images.bytes("plain.qcow2")
        bytes.poke(UInt64(2), at: 88)
        try images.folder.write(bytes, to: "plain.qcow2")
        let plain = try images.open("plain.qcow2")
        #expect(
            plain.disk.error
                == ImageError(
                    .corrupt, path: images.path("plain.qcow2"), offset: HostOffset(88),
                    "autoclear_features: says that the external data file is raw, but there is none"))
        #expect(try images.differencesOfInfo("plain.qcow2", plain) == [])
        #expect(throws: ToolFailure.self) { try images.converted("plain.qcow2") }

        // qemu-img 7.2 refuses to make such an image, but reads one.
        try images.create("base.qcow2", "", size: "1M")
        try images.create("over.qcow2", "data_file=d.raw", size: "1M", backing: "base.qcow2")
        bytes = try images.bytes("over.qcow2")
        bytes.poke(UInt64(2), at: 88)
        try images.folder.write(bytes, to: "over.qcow2")
        #expect(
            try images.open("over.qcow2").disk.error
                == ImageError(
                    .corrupt, path: images.path("over.qcow2"), offset: HostOffset(88),
                    "autoclear_features: says that the external data file is the whole disk, but there is a backing file"
                ))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `holds every cluster at its guest offset, and none compressed`() throws {
        let images = try Images()
        try images.create("x.qcow2", "data_file=d.raw", size: "1M")
        try images.io("x.qcow2", ["write -P 5 0 1M"])
        let good = try images.bytes("x.qcow2")
        let data = try images.bytes("d.raw")
        let entry = good.l2Offset() + 2 * 8
        func error(_ value: UInt64, named name: String) throws -> ImageError? {
            var bytes = good
            bytes.poke(value, at: entry)
            let image = try openInMemory(bytes, dataFile: data)
            #expect(try image.bytes(2 << 16, at: 0) == Array(repeating: 5, count: 2 << 16))
            #expect(try image.bytes(13 << 16, at: 3 << 16) == Array(repeating: 5, count: 13 << 16))
            // qemu-img reads none of these either.
            try images.folder.write(bytes, to: name)
            #expect(throws: ToolFailure.self) { try images.converted(name) }
            return imageError { _ = try image.bytes(512, at: 2 << 16) }
        }
        func corrupt(_ message: String) -> ImageError {
            ImageError(
                .corrupt, path: "memory.img", offset: HostOffset(UInt64(entry)), "L2 table: the entry here \(message)")
        }
        #expect(
            try error(1 << 63 | 0x30000, named: "moved.qcow2")
                == corrupt("points to 0x30000 of the data file, where guest offset 0x20000 cannot lie"))
        #expect(
            try error(1 << 63, named: "first.qcow2")
                == corrupt("points to 0x0 of the data file, where guest offset 0x20000 cannot lie"))
        #expect(
            try error(1 << 63 | 0x30001, named: "zero.qcow2")
                == corrupt("points to 0x30000 of the data file, where guest offset 0x20000 cannot lie"))
        #expect(
            try error(1 << 62 | 0x20000, named: "compressed.qcow2")
                == corrupt("is of a compressed cluster, which an image with a data file cannot have"))

        // Offset 0 without COPIED is no cluster, not the first one.
        var bytes = good
        bytes.poke(UInt64(0), at: good.l2Offset())
        #expect(try openInMemory(bytes, dataFile: data).bytes(4, at: 0) == [0, 0, 0, 0])
        #expect(try openInMemory(good, dataFile: data).bytes(4, at: 0) == [5, 5, 5, 5])
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `that ends early is an error where clusters are missing`() throws {
        let images = try Images()
        try images.create("x.qcow2", "data_file=d.raw", size: "1M")
        try images.io("x.qcow2", ["write -P 5 0 1M"])
        let image = try openInMemory(try images.bytes("x.qcow2"), dataFile: Array(repeating: 5, count: 100_352))
        #expect(try image.bytes(100_354, at: 0).suffix(3) == [5, 0, 0])
        // Whoever writes disks writes whole sectors: a part of one is what a cut has left.
        let cut = try openInMemory(try images.bytes("x.qcow2"), dataFile: Array(repeating: 5, count: 100_000))
        #expect(try cut.bytes(100_000, at: 0).suffix(1) == [5])
        #expect(imageError { _ = try cut.bytes(1, at: 100_000) }?.code == .truncated)
        let error = imageError { _ = try image.bytes(1, at: 1 << 17) }
        #expect(error?.code == .truncated && error?.path == "data.raw" && error?.offset == HostOffset(1 << 17))
    }
}
