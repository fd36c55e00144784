import BlockImage
import Catalog
import Glibc
import HostTools
import SystemPackage
import TestImages
import Testing

struct `A disk that a person named` {
    @Test func `is unchanged until one of the files of its chain is written to`() throws {
        let folder = try TemporaryFolder()
        for changed in ["top.qcow2", "base.raw"] {
            try folder.write(Array(repeating: 7, count: 1 << 20), to: "base.raw")
            try Tool.check(
                "qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", folder.file("top.qcow2"))
            let disk = try NamedImage(FilePath(folder.file("top.qcow2"))).disk()
            try disk.checkUnchanged()
            try Shell.check("printf x >>\"$1\"", folder.file(changed))
            let error = #expect(throws: ImageError.self) { try disk.checkUnchanged() }
            #expect(error?.code == .system(errno: ESTALE) && error?.path == folder.file(changed), "\(changed)")
        }
    }
}
