import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "bash")))
struct `Copies of an encrypted image` {
    @Test func `have one key each, although their headers are equal: a damaged one does not lock a sound one`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; mkdir -p a b  # qemu-img may have to be run again
            qemu-img create -q -f qcow2 --object secret,id=s,data=abc \
              -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 a/e.qcow2 1M
            printf abc > key
            """, folder.path)
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("a/e.qcow2"))))
        let magic: [UInt8] = [0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe]
        let header = try #require(bytes.indices.first { bytes[$0...].starts(with: magic) })
        // The first key slot's key material begins 4 KiB behind the header.
        for index in header + 4096..<header + 4160 { bytes[index] ^= 0xff }
        try folder.write(bytes, to: "b/e.qcow2")
        for order in [["a/e.qcow2", "b/e.qcow2"], ["b/e.qcow2", "a/e.qcow2"]] {
            let result = try RBlock.run(["hash", "--secret", "e.qcow2=file:key"] + order, in: folder.path)
            #expect(result.status == 1 && result.text.hasSuffix("  a/e.qcow2\n"), "\(result.text)\(result.errors)")
            #expect(result.errors.contains("b/e.qcow2: encryption header: the passphrase fits none"))
            #expect(!result.errors.contains("a/e.qcow2"))
        }
    }
}
