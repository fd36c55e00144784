import BlockImage
import ByteFormat
import Encryption
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

@testable import QCOW2

struct `Encrypted clusters` {
    private static let passphrase = "correct horse battery"

    /// The cipher of the image in `file`.
    private func cipher(_ description: QCOW2Description, _ file: any HostFile) throws -> SectorCipher {
        let secret = Secret(Array(Self.passphrase.utf8))
        guard let location = description.extensions.encryptionHeader else { return try LegacyAES.cipher(for: secret) }
        var reader = ByteReader(try file.bytes(LUKS1Header.size, at: HostOffset(location.offset), of: "LUKS header"))
        return try LUKS1Header(parsing: &reader).unlock(with: secret) { offset, count throws(ImageError) in
            try file.bytes(count, at: HostOffset(location.offset + offset), of: "key material")
        }
    }

    private func encryptedOptions(_ name: String) -> [String] {
        [
            "--object", "secret,id=s,data=\(Self.passphrase)", "--image-opts",
            "driver=qcow2,file.filename=\(name),encrypt.key-secret=s",
        ]
    }

    /// An encrypted image that was written to here and there, with a snapshot, and qemu's reading of it.
    private func make(_ options: String, _ commands: [String], backing: Bool) throws -> (Images, raw: String) {
        let images = try Images()
        func run(_ name: String, _ arguments: [String]) throws {
            let result = try Tool.run(name, arguments, in: images.folder.path)
            if result.status != 0 { throw ToolFailure(description: "\(name) \(arguments): \(result.errors)") }
        }
        try Pattern.writeDisk(images.path("base.raw"), size: 2 << 20, seed: 8)
        let object = ["--object", "secret,id=s,data=\(Self.passphrase)"]
        let base = backing ? ["-b", "base.raw", "-F", "raw"] : []
        let create = ["create", "-q", "-f", "qcow2"] + object + ["-o", options] + base + ["e.qcow2", "4100k"]
        try run("qemu-img", create)
        try run("qemu-io", encryptedOptions("e.qcow2") + commands.flatMap { ["-c", $0] })
        try run("qemu-img", ["convert"] + encryptedOptions("e.qcow2") + ["-O", "raw", "e.raw"])
        return (images, images.path("e.raw"))
    }

    private static let luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"
    private static let aes = "encrypt.format=aes,encrypt.key-secret=s"

    @Test(
        .enabled(if: Tool.areThere("qemu-img", "qemu-io")),
        arguments: [luks, "\(luks),extended_l2=on", "\(luks),cluster_size=512", aes, "\(aes),cluster_size=4k"],
        [false, true])
    func `are decrypted as qemu decrypts them`(options: String, hasBacking: Bool) throws {
        let (images, raw) = try make(
            options,
            [
                "write -P 1 0 3M", "write -P 2 100k 30k", "write -z 200k 64k", "write -P 3 3500k 1k",
                "write -P 4 4098k 2k",
            ], backing: hasBacking)
        let file = try images.file("e.qcow2")
        let description = try QCOW2Description(file)
        let layer = try QCOW2Layer(
            description, file: file, cipher: cipher(description, file), resources: LayerResources())
        let backing = hasBacking ? Image(layer: RawLayer(file: try images.file("base.raw"))) : nil
        let image = Image(layer: layer, backing: backing)
        #expect(try image.firstDifference(from: raw) == nil)
        for seed in [UInt64(1), 2, 3] { #expect(try image.wrongRead(from: raw, seed: seed) == nil) }
        // A long run is answered in pieces of at most 1 MiB, whose host bytes are whole sectors.
        for start in [UInt64(0), 512, 1000] {
            let extent = try layer.extent(at: GuestOffset(start), limit: .max)
            guard case .encoded(.encrypted, _, let offset, let count) = extent.storage else {
                Issue.record("\(extent) is not encoded")
                continue
            }
            #expect(offset.rawValue % 512 == 0 && count % 512 == 0 && count <= 1 << 20)
            #expect(extent.count + start % 512 <= count && extent.count > count - 1024)
        }
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")), arguments: [luks, aes])
    func `of a snapshot are decrypted, too`(options: String) throws {
        let (images, _) = try make(options, ["write -P 1 0 300k"], backing: false)
        let create = try Tool.run(
            "qemu-img", ["snapshot", "-c", "a"] + encryptedOptions("e.qcow2"), in: images.folder.path)
        try #require(create.status == 0, "\(create.errors)")
        let write = try Tool.run(
            "qemu-io", encryptedOptions("e.qcow2") + ["-c", "write -P 2 0 1M"], in: images.folder.path)
        try #require(write.status == 0, "\(write.errors)")
        let file = try images.file("e.qcow2")
        let description = try QCOW2Description(file)
        let layer = try QCOW2Layer(
            description, file: file, cipher: cipher(description, file), resources: LayerResources())
        #expect(try Image(layer: layer).bytes(1 << 20, at: 0) == Array(repeating: 2, count: 1 << 20))
        let snapshot = Image(layer: try layer.layer(of: description.snapshots[0]))
        #expect(
            try snapshot.bytes(400 << 10, at: 0) == Array(repeating: 1, count: 300 << 10)
                + Array(repeating: 0, count: 100 << 10))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `are not read without a key, and not where the file ends`() throws {
        let (images, _) = try make(Self.luks, ["write -P 1 0 300k"], backing: false)
        let bytes = try images.bytes("e.qcow2")
        #expect(
            imageError { _ = try openInMemory(bytes) }
                == ImageError(
                    .denied, path: "memory.img", offset: HostOffset(32), "crypt_method: encrypted, no key",
                    hint: "--secret gives the passphrase of LUKS"))
        #expect(try images.open("e.qcow2").disk.error?.offset == HostOffset(32))
        let whole = MemoryFile(bytes)
        let description = try QCOW2Description(whole)
        let key = try cipher(description, whole)
        let host = Int(bytes.integer(at: bytes.l2Offset(), as: UInt64.self) & 0x00ff_ffff_ffff_fe00)
        // Cut inside a sector: what cannot be decrypted is an error, not zeros.
        let cut = MemoryFile(Array(bytes.prefix(host + 1000)))
        let layer = try QCOW2Layer(description, file: cut, cipher: key, resources: LayerResources())
        #expect(try Image(layer: layer).bytes(512, at: 0) == Array(repeating: 1, count: 512))
        let error = imageError { _ = try Image(layer: layer).bytes(1, at: 512) }
        #expect(error?.code == .truncated && error?.offset == HostOffset(UInt64(host + 512)))
    }

    @Test(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
    func `may lie beside compressed ones, which are not encrypted`() throws {
        // qemu compresses nothing into encrypted images any more, but the format has it, and qemu reads it.
        let (images, _) = try make(Self.luks, ["write -P 1 0 128k"], backing: false)
        try images.create("c.qcow2", "", size: "64k")
        try images.io("c.qcow2", ["write -c -P 7 0 64k"])
        let donor = try images.bytes("c.qcow2")
        let entry = donor.integer(at: donor.l2Offset(), as: UInt64.self)
        let from = Int(entry & ((1 << 54) - 1))
        var bytes = try images.bytes("e.qcow2")
        bytes += Array(repeating: 0, count: -bytes.count & 0xffff)
        bytes.poke(1 << 62 | UInt64(bytes.count), at: bytes.l2Offset() + 8)
        bytes += donor[from..<min(from + 512, donor.count)]
        bytes += Array(repeating: 0, count: -bytes.count & 0xffff)
        try images.folder.write(bytes, to: "e.qcow2")
        let result = try Tool.run(
            "qemu-img", ["convert"] + encryptedOptions("e.qcow2") + ["-O", "raw", "e.raw"], in: images.folder.path)
        try #require(result.status == 0, "\(result.errors)")
        let file = try images.file("e.qcow2")
        let description = try QCOW2Description(file)
        let layer = try QCOW2Layer(
            description, file: file, cipher: cipher(description, file), resources: LayerResources())
        let image = Image(layer: layer)
        #expect(try image.bytes(4, at: 65534) == [1, 1, 7, 7])
        #expect(try image.firstDifference(from: images.path("e.raw")) == nil)
    }
}
