import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("qemu-img", "bash")))
struct `What clients of a server learn of the host` {
    /// A folder of sound and of failing images, most of which name files by absolute paths.
    private static func makeImages(_ folder: TemporaryFolder) throws -> [String] {
        try Shell.check(
            """
            cd "$1"; mkdir images images/sub outside; mkdir -p "out side/deep er"
            truncate -s 1M outside/base.raw images/base.raw "out side/deep er/base.raw"; cd images
            create() { qemu-img create -q "$@"; }
            create -f qcow2 plain.qcow2 1M; create -f qcow2 sub/deep.qcow2 1M
            mkdir vm:1; truncate -s 1M vm:1/a.raw
            create -u -f qcow2 -F raw -b "$1/outside/base.raw" outside.qcow2 1M
            create -u -f qcow2 -F raw -b "$1/images/gone.raw" gone.qcow2 1M
            create -u -f qcow2 -F raw -b "../secret-x/base.raw" above.qcow2 1M
            create -u -f qcow2 -F raw -b "$1/secret-x/base.raw" sibling.qcow2 1M
            create -u -f qcow2 -F raw -b "sub/../../secret-x/base.raw" around.qcow2 1M
            create -u -f qcow2 -F raw -b "file://$1/outside/base.raw" scheme.qcow2 1M
            create -u -f qcow2 -F raw -b "$1/out side/deep er/base.raw" blanks.qcow2 1M
            create -u -f qcow2 -F raw -b "$1/images/base.raw" over.qcow2 1M
            create -u -f qcow2 -F raw -b "$1/images/sub" folder.qcow2 1M
            create -f qcow2 -o data_file="$1/outside/data",data_file_raw=on data.qcow2 1M
            create -f vmdk base.vmdk 1M; create -f vmdk -F vmdk -b "$1/images/base.vmdk" delta.vmdk
            sed -i 's/^CID=.*/CID=12345678/' base.vmdk
            create -f vmdk -o subformat=twoGbMaxExtentFlat split.vmdk 1M; rm split-f001.vmdk
            cp plain.qcow2 encrypted.qcow2; printf '\\0\\0\\0\\1' | dd of=encrypted.qcow2 bs=1 seek=32 conv=notrunc status=none
            cp plain.qcow2 dirty.qcow2; printf '\\377' | dd of=dirty.qcow2 bs=1 seek=44 conv=notrunc status=none
            head -c 70 plain.qcow2 >short.qcow2; head -c 200000 plain.qcow2 >cut.qcow2
            printf '%s\\n' '# Disk DescriptorFile' version=1 CID=1234abcd parentCID=deadbeef 'createType="monolithicSparse"' \
              'parentFileNameHint="..\\secret-x\\v.vmdk"' 'RW 2048 SPARSE "gone-s001.vmdk"' >windows.vmdk
            ln -s ../outside/base.raw link.raw; ln -s "$1/nowhere" broken.raw; : >empty.vmdk
            """, folder.path)
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder.file("images"))
        return names.filter { !$0.hasSuffix("sub") }.sorted()
    }

    /// Neither where the images lie, nor an option of the command.
    private static func expectNothing(in text: String, of folder: TemporaryFolder, _ what: String) {
        #expect(!text.contains(folder.path) && !text.contains("--"), "\(what): \(text)")
        #expect(!text.contains("secret-x"), "\(what): \(text)")
        // Nor as bytes in hexadecimal.
        let bytes = folder.path.utf8.map { String($0, radix: 16) }.joined(separator: " ")
        #expect(!text.contains(bytes), "\(what): \(text)")
    }

    @Test func `has no path of the host and no option, over JSON-RPC`() throws {
        let folder = try TemporaryFolder()
        let names = try Self.makeImages(folder)
        let server = try ImageServer([folder.file("images")])
        let client = try server.connect()
        var errors = 0
        func ask(_ method: String, _ params: String) throws {
            try client.send("{\"method\":\"\(method)\",\"params\":\(params),\"id\":1}")
            while let line = try client.line() {
                Self.expectNothing(in: line, of: folder, "\(method) \(params)")
                if line.contains("\"error\":") { errors += 1 }
                // On a busy machine what takes long is heard of before it is answered.
                if line.contains("\"id\":1"), !line.contains("\"method\":\"progress\"") { break }
            }
        }
        try ask("list", "[]")
        try ask("rpc.discover", "[]")
        for name in names + ["none.raw", "../outside/base.raw"] {
            for (method, more) in [
                ("open", ""), ("info", ""), ("info", ",\"backing-chain\":true,\"allocation\":true"),
                ("inspect", ",\"graph\":true"), ("map", ""), ("check", ",\"data\":true"),
                ("read", ",\"offset\":0,\"length\":512"),
                ("read", ",\"offset\":9999999,\"length\":512"),
            ] { try ask(method, "{\"image\":\"\(name)\"\(more)}") }
            try ask("diff", "{\"a\":\"\(name)\",\"b\":\"plain.qcow2\"}")
        }
        #expect(errors > 40)
        // Names are given as clients know them.
        let deep = try client.call("info", "{\"image\":\"sub/deep.qcow2\"}")["result", "filename"]?.text
        #expect(deep == "sub/deep.qcow2")
        let colon = try client.call("info", "{\"image\":\"vm:1/a.raw\"}")["result", "filename"]?.text
        #expect(colon == "vm:1/a.raw")
        let over = try client.call("info", "{\"image\":\"over.qcow2\",\"backing-chain\":true}")["result"]?.array
        #expect(over?.map { $0["filename"]?.text } == ["over.qcow2", "base.raw"])
        #expect(over?.first?["backing-filename"]?.text == "base.raw")
        let missing = try client.call("read", "{\"image\":\"gone.qcow2\",\"offset\":0,\"length\":1}")["error"]
        #expect(missing?["message"]?.text?.contains("\"gone.raw\"") == true, "\(String(describing: missing))")
        #expect(missing?["data", "path"]?.text == "gone.qcow2")
    }

    @Test func `has no path of the host in the bytes of a name that is not UTF-8`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            "cd \"$1\"; truncate -s 1M $'n\\377.raw'; qemu-img create -q -u -f qcow2 -F raw -b $'n\\377.raw' a.qcow2 1M",
            folder.path)
        let server = try ImageServer([folder.file("a.qcow2")])
        let chain = try server.connect().call("info", "{\"backing-chain\":true}")["result"]?.array
        let bytes = chain?.last?["filename-bytes"]?.text.flatMap { Data(base64Encoded: $0) }
        #expect(bytes == Data(Array("n".utf8) + [0xff] + Array(".raw".utf8)), "\(String(describing: chain))")
    }

    @Test func `has no path of the host and no option, over NBD`() throws {
        let folder = try TemporaryFolder()
        let names = try Self.makeImages(folder)
        let server = try ImageServer([folder.file("images")])
        for name in names {
            let told = try NBDPython.check(
                NBDPython.rawClient + """
                    name = sys.argv[2].encode(); named = struct.pack(">I", len(name)) + name
                    for number, data in [(3, b""), (6, named + struct.pack(">HHHH", 3, 1, 2, 3)), (8, b""),
                                         (9, named + bytes(4)), (7, named + bytes(2)), (77, b"")]:
                        c = Client(sys.argv[1])
                        for kind, data in c.option(number, data): print(hex(kind), data.decode("utf-8", "replace"))
                    """, server.socket, name)
            #expect(told.contains("0x"))
            Self.expectNothing(in: told, of: folder, name)
        }
    }
}
