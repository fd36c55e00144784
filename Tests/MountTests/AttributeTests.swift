import Foundation
import HostTools
import Testing

@Suite("Extended attributes", .enabled(if: Tool.canMount("qemu-img", "getfattr")))
struct AttributeTests {
    private func attribute(_ name: String, _ path: String) throws -> String {
        try Shell.check("getfattr --absolute-names --only-values -n user.rblock.$2 \"$1\"", path, name)
    }

    @Test("They tell the format, the file, the layer and the cluster size")
    func values() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; truncate -s 1M base.raw; qemu-img create -q -f qcow2 -o cluster_size=4k -b base.raw -F raw top.qcow2
            """, folder.path)
        let mount = try Mount(folder.path)
        for path in [mount.file("top.qcow2"), mount.disk("top.qcow2"), mount.file("top.qcow2/layers/0.raw")] {
            #expect(try attribute("format", path) == "qcow2")
            #expect(try attribute("file", path) == folder.file("top.qcow2"))
            #expect(try attribute("layer", path) == "0")
            #expect(try attribute("cluster-size", path) == "4096")
        }
        let base = mount.file("top.qcow2/layers/1.raw")
        #expect(try attribute("format", base) == "raw")
        #expect(try attribute("layer", base) == "1")
        #expect(try Shell.check("getfattr -d --absolute-names \"$1\" | grep -c user.rblock", base) == "3")
        #expect(try Shell.run("getfattr -n user.rblock.none \"$1\"", base).status != 0)
        #expect(try Shell.check("getfattr -d \"$1\"", mount.path) == "")
    }
}
