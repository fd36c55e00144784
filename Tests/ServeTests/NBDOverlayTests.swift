import Foundation
import HostTools
import TestImages
import Testing

/// What can be said of overlays to `rblock serve`.
@Suite(.enabled(if: Tool.areThere("nbdcopy", "qemu-img", "qemu-io", "sfdisk")))
struct `An overlay that is written to over NBD` {
    private typealias Images = `Writing over NBD`

    @Test func `is for encrypted disks where that is said, and to overlays as is said`() throws {
        let folder = try Images.makeImages()
        try folder.write(Array("abc".utf8), to: "key")
        let server = try Images.serve(
            folder,
            options: [
                "--secret", "e.qcow2=file:\(folder.file("key"))", "--overlay-plaintext", "--overlay-options",
                "cluster_size=4k",
                "--no-lock",
            ])
        let commands = ["write -P 7 1M 3M", "write -z 10M 1M", "flush"]
        for image in ["a.raw", "e.qcow2"] { try QemuImg.io(server.uri(image), format: "raw", commands) }
        try Tool.check("nbdcopy", server.uri("e.qcow2"), folder.file("now"))
        try Shell.check("cp --sparse=always \"$1/disk\" \"$1/model\"", folder.path)
        try QemuImg.io(folder.file("model"), format: "raw", commands)
        try Tool.check("cmp", folder.file("now"), folder.file("model"))
        try Images.judge(server, folder, disks: ["a.raw": "model"])
        for image in ["a.raw", "e.qcow2"] {
            let info = try JSONValue(
                parsing: try Tool.check(
                    "qemu-img", "info", "--output=json", folder.file("overlays/\(image).overlay.qcow2")))
            #expect(info["cluster-size"]?.number == 4096, "\(info)")
        }
        let refused = try Tool.run(
            Tool.rblock,
            ["serve", "--overlay", folder.file("o"), "--overlay-options", "lazy_refcounts=on", folder.file("images")])
        #expect(refused.status == 64 && refused.errors.contains("it has cluster_size, refcount_bits"), "\(refused)")
    }
}
