import BlockImage
import FormatCore
import Foundation
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

/// An image that may be asked for; `change` makes it from the default one of 1 MiB.
private func asked(_ size: UInt64 = 1 << 20, _ change: (inout NewQCOW2) -> Void = { _ in }) -> NewQCOW2 {
    var image = NewQCOW2(size: size)
    change(&image)
    return image
}

/// One of the files that `makeBackingFiles` makes, by a name of `count` bytes.
private func named(_ count: Int) -> NewQCOW2.Backing {
    let name = String(repeating: "./", count: 600) + (count % 2 == 0 ? "base" : "base5")
    return NewQCOW2.Backing(name: Array(name.utf8.suffix(count)), format: "raw")
}

private func makeBackingFiles(in folder: TemporaryFolder) throws {
    for name in ["base", "base5"] { try folder.write(Array(repeating: 1, count: 512), to: name) }
}

struct `A new QCOW2 image` {
    static let possible = [
        asked(), asked(0), asked(512), asked(1000), asked(64 << 30),
        asked { $0.clusterSize = 512 }, asked { $0.clusterSize = 2 << 20 },
        asked { $0.refcountBits = 1 }, asked { $0.refcountBits = 64 },
        asked { $0.version = 2 }, asked { $0.hasLazyRefcounts = true }, asked { $0.compressionType = .zstd },
        asked { ($0.hasExtendedL2, $0.clusterSize) = (true, 16384) },
        asked { $0.backing = named(1023) },
        asked { ($0.backing, $0.clusterSize) = (named(376), 512) },
        asked { ($0.backing, $0.clusterSize, $0.version) = (named(416), 512, 2) },
        asked { ($0.backing, $0.hasExtendedL2, $0.preallocation) = (named(4), true, .metadata) },
        asked(128 << 30) { $0.clusterSize = 512 }, asked(2 << 50),
        asked { $0.preallocation = .metadata }, asked(3 << 20 | 512) { $0.preallocation = .falloc },
        asked(3 << 20 | 512) { ($0.preallocation, $0.clusterSize) = (.full, 4096) },
    ]

    static let impossible = [
        asked { $0.clusterSize = 256 }, asked { $0.clusterSize = 1000 }, asked { $0.clusterSize = 4 << 20 },
        asked { $0.refcountBits = 3 }, asked { $0.refcountBits = 128 },
        asked { ($0.version, $0.refcountBits) = (2, 8) }, asked { ($0.version, $0.hasExtendedL2) = (2, true) },
        asked { ($0.version, $0.hasLazyRefcounts) = (2, true) },
        asked { ($0.version, $0.compressionType) = (2, .zstd) },
        asked { ($0.hasExtendedL2, $0.clusterSize) = (true, 8192) },
        asked { $0.backing = named(1024) },
        asked { ($0.backing, $0.clusterSize) = (named(377), 512) },
        asked { ($0.backing, $0.clusterSize, $0.version) = (named(417), 512, 2) },
        asked { ($0.backing, $0.preallocation) = (named(4), .metadata) },
        asked(128 << 30 | 512) { $0.clusterSize = 512 }, asked(2 << 50 | 512),
    ]

    /// Makes it with `qemu-img create`; answers whether that can.
    private func isMadeByQEMU(_ image: NewQCOW2, at path: String) throws -> Bool {
        var arguments = [
            "create", "-q", "-f", "qcow2", "-o",
            "compat=\(image.version == 2 ? "0.10" : "1.1"),cluster_size=\(image.clusterSize)"
                + ",refcount_bits=\(image.refcountBits),extended_l2=\(image.hasExtendedL2 ? "on" : "off")"
                + ",lazy_refcounts=\(image.hasLazyRefcounts ? "on" : "off")"
                + ",compression_type=\(image.compressionType.rawValue),preallocation=\(image.preallocation.rawValue)",
        ]
        if let backing = image.backing {
            arguments += ["-u", "-b", String(decoding: backing.name, as: UTF8.self), "-F", backing.format]
        }
        return try Tool.run("qemu-img", arguments + [path, String(image.size)]).status == 0
    }

    @Test(arguments: possible)
    func `is what qemu-img makes, and no larger`(image: NewQCOW2) throws {
        let folder = try TemporaryFolder()
        try makeBackingFiles(in: folder)
        let (ours, theirs) = (folder.file("ours"), folder.file("theirs"))
        try write(PiecesOfDisk(size: image.size), as: image, to: ours)
        try #require(try isMadeByQEMU(image, at: theirs))
        #expect(try QemuImg.check(ours, format: "qcow2").status == 0)
        func info(_ path: String) throws -> [String: Any] {
            // What the file takes and is called is its own.
            try QemuImg.info(path, format: "qcow2").filter { !["actual-size", "filename"].contains($0.key) }
        }
        let (our, their) = (try info(ours), try info(theirs))
        #expect(our as NSDictionary == their as NSDictionary, "\(our)\n\(their)")
        let size = { (path: String) in try FileManager.default.attributesOfItem(atPath: path)[.size] as? UInt64 ?? 0 }
        let (ourSize, theirSize) = (try size(ours), try size(theirs))
        #expect(ourSize <= theirSize)
        guard image.backing == nil, image.size < 1 << 30 else { return }
        // Which clusters are data, and which are not there: where they lie is another matter.
        let map = { (path: String) in
            try QemuImg.map(path, format: "qcow2").reduce(into: [Bool: UInt64]()) {
                $0[$1.data || !$1.zero, default: 0] += $1.length
            }
        }
        #expect(try map(ours) == map(theirs))
    }

    @Test(arguments: impossible)
    func `that qemu-img refuses is refused, before anything is written`(image: NewQCOW2) throws {
        let folder = try TemporaryFolder()
        #expect(try !isMadeByQEMU(image, at: folder.file("theirs")))
        let file = try PlainNewFile(folder.file("ours"))
        let error = #expect(throws: ImageError.self) { _ = try QCOW2Writer(image, in: file) }
        #expect(error?.code == .unsupported && error?.path == file.path)
        #expect(file.writes.load(ordering: .relaxed) == 0)
    }

    @Test func `says what must be otherwise`() throws {
        func message(_ image: NewQCOW2, level: Int? = nil) -> String? {
            #expect(throws: ImageError.self) { try image.validate(compressionLevel: level, path: "new") }?.message
        }
        #expect(
            message(asked { $0.clusterSize = 1000 })
                == "option cluster_size: is 1000, but must be a power of two from 512 to 2097152")
        #expect(
            message(asked { ($0.version, $0.compressionType) = (2, .zstd) })
                == "option compression_type: zstd needs compat=1.1")
        #expect(
            message(asked(2 << 50 | 512))
                == "a disk of 2251799813685760 bytes needs 4194305 L1 entries, but there can be at most 4194304: "
                + "it needs a larger cluster_size")
        #expect(message(asked(), level: 13) == "the level of zlib is 13, but must be 1 to 12")
        #expect(message(asked { $0.version = 4 }) == "version is 4, but must be 2 (compat 0.10) or 3 (compat 1.1)")
        // Such numbers must not end the program.
        #expect(message(asked(.max)) != nil)
        #expect(message(asked { $0.clusterSize = .max }) != nil)
        #expect(message(asked { $0.backing = named(0) }) != nil)
        #expect(message(asked { $0.preallocation = .full }, level: 1) != nil)
    }
}
