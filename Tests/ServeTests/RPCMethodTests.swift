import Foundation
import HostTools
import TestImages
import Testing

@Suite("JSON-RPC: what the methods answer", .enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct RPCMethodTests {
    /// A folder of images: `disk.qcow2` with a snapshot and `copy.qcow2`, of which a sector differs; a delta; a table of
    /// partitions; and images that cannot be read in every way.
    private static func images() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"
            qemu-img create -q -f qcow2 disk.qcow2 8M
            qemu-io -f qcow2 -c 'write -P 7 0 64k' -c 'write -P 8 1M 192k' -c 'write -z 4M 64k' disk.qcow2 >/dev/null
            qemu-img snapshot -c monday disk.qcow2
            cp disk.qcow2 copy.qcow2
            qemu-io -f qcow2 -c 'write -P 9 4096 512' copy.qcow2 >/dev/null
            qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 delta.qcow2
            mkdir more
            qemu-img convert -O vmdk disk.qcow2 more/disk.vmdk
            truncate -s 8M parted.raw
            printf 'label: gpt\\nstart=1MiB, size=2MiB, name="root"\\n' | sfdisk -q parted.raw
            printf 'QFI\\xfb\\0\\0\\0\\3' >corrupt.qcow2
            cp disk.qcow2 future.qcow2
            printf '\\x80' | dd of=future.qcow2 bs=1 seek=79 conv=notrunc status=none
            cp disk.qcow2 cut.qcow2
            truncate -s 320K cut.qcow2
            qemu-img create -q -f qcow2 -u -b /etc/hostname -F raw thief.qcow2 1M
            qemu-img create -q -f qcow2 -u -b gone.raw -F raw orphan.qcow2 1M
            """, folder.path)
        return folder
    }

    @Test func `answer the documents of the verbs`() throws {
        let folder = try Self.images()
        let served = try ImageServer([folder.path])
        let client = try served.connect()
        func result(_ method: String, _ params: String) throws -> JSONValue? {
            let answer = try client.call(method, params)
            #expect(answer["error"] == nil && answer["jsonrpc"]?.text == "2.0", "\(method) \(params): \(answer)")
            return answer["result"]
        }
        // Clients get names below the served folder.
        func told(_ document: JSONValue) -> JSONValue { document.removing("\(folder.path)/") }
        for name in ["disk.qcow2", "delta.qcow2", "more/disk.vmdk", "parted.raw", "corrupt.qcow2", "future.qcow2"] {
            let path = folder.file(name)
            let image = "{\"image\":\"\(name)\"}"
            #expect(try result("info", image) == told(RBlock.json("info", path)), "\(name)")
            #expect(try result("inspect", image) == told(RBlock.json("inspect", path)), "\(name)")
            let all = "{\"image\":\"\(name)\",\"l2\":true,\"limit\":3,\"graph\":true}"
            #expect(try result("inspect", all) == told(RBlock.json("inspect", "--l2", "--limit", "3", "--graph", path)))
        }
        for name in ["disk.qcow2", "more/disk.vmdk"] {
            let path = folder.file(name)
            #expect(try result("check", "[\"\(name)\",true]") == told(RBlock.json("check", "--data", path)))
            #expect(try result("map", "[\"\(name)\"]") == told(RBlock.json("map", path)))
        }
        #expect(
            try result("info", "{\"image\":\"delta.qcow2\",\"backing-chain\":true,\"allocation\":true}")
                == told(RBlock.json("info", "--backing-chain", "--allocation", folder.file("delta.qcow2"))))
        #expect(
            try result("map", "[\"disk.qcow2@monday\",65536,1048576]")
                == RBlock.json(
                    "map", "--snapshot", "monday", "--start-offset", "64K", "--max-length", "1M",
                    folder.file("disk.qcow2")))
        let ours = try result("diff", "[\"disk.qcow2\",\"copy.qcow2\"]")
        let verbs = try RBlock.json("diff", folder.file("disk.qcow2"), folder.file("copy.qcow2"))
        for key in ["ranges", "summary", "identical"] { #expect(ours?[key] == verbs[key], "\(key)") }
        #expect(ours?["ranges"]?.array?.count == 1)
        #expect(try result("diff", "{\"a\":\"disk.qcow2\",\"b\":\"disk.qcow2\",\"summary\":true}")?["ranges"] == nil)
        for name in ["disk.qcow2", "more/disk.vmdk"] {
            let bytes = try result("read", "{\"image\":\"\(name)\",\"offset\":65530,\"length\":4100}")
            let same = try RBlock.json("read", "--offset", "65530", "--length", "4100", folder.file(name))
            for key in ["data", "offset", "length", "size"] { #expect(bytes?[key] == same[key], "\(name) \(key)") }
        }
        withExtendedLifetime(folder) {}
    }

    @Test func `list every disk, and read each of them`() throws {
        let folder = try Self.images()
        let served = try ImageServer([folder.path])
        let client = try served.connect()
        let listed = try #require(try client.call("list")["result"]?.array)
        let sizes = listed.reduce(into: [String: Int]()) { $0[$1["name"]?.text ?? ""] = $1["size"]?.number }
        // A disk does not need the snapshot table that a cut has taken away.
        let whole = ["disk.qcow2", "copy.qcow2", "cut.qcow2", "delta.qcow2", "more/disk.vmdk", "parted.raw"]
        let kept = ["disk.qcow2@monday", "copy.qcow2@monday", "delta.qcow2/layers/0", "delta.qcow2/layers/1"]
        #expect(Set(sizes.keys) == Set(whole + kept + ["parted.raw/p1"]), "\(listed)")
        #expect((whole + kept).allSatisfy { sizes[$0] == 8 << 20 } && sizes["parted.raw/p1"] == 2 << 20)
        let broken = listed.filter { $0["error"] != nil }.compactMap { $0["name"]?.text }
        #expect(Set(broken) == ["corrupt.qcow2", "future.qcow2", "thief.qcow2", "orphan.qcow2"])
        for (name, size) in sizes {
            let answer = try client.call("open", "[\"\(name)\"]")
            #expect(answer["result", "size"]?.number == size && answer["result", "image"]?.text == name, "\(answer)")
            let last = try client.call("read", "{\"image\":\"\(name)\",\"offset\":\(size - 1),\"length\":1}")
            #expect(last["result", "data"]?.text == "AA==", "\(name): \(last)")
        }
        #expect(try client.call("close", "[\"disk.qcow2\"]")["result"]?.number == 1)
        #expect(try client.call("close")["result"]?.number == sizes.count - 1)
        let stats = try client.call("stats")["result"]
        #expect(stats?["calls", "open"]?.number == sizes.count && stats?["connections"]?.number == 1, "\(stats as Any)")
        #expect(stats?["bytes-read"]?.number == sizes.count)
    }

    private static let wrongCalls: [(method: String, params: String, code: Int)] = [
        ("nothing", "{}", -32601), ("read", "{}", -32602), ("read", "{\"offset\":0,\"length\":0}", -32602),
        ("read", "{\"offset\":0,\"length\":4194305}", -32602), ("check", "{\"image\":\"corrupt.qcow2\"}", -32001),
        ("read", "{\"image\":\"corrupt.qcow2\",\"offset\":0,\"length\":1}", -32001),
        ("open", "[\"future.qcow2\"]", -32002), ("check", "[\"parted.raw\"]", -32002),
        ("read", "[0,512,\"cut.qcow2\"]", -32003), ("open", "[\"thief.qcow2\"]", -32004),
        ("open", "[\"orphan.qcow2\"]", -32006), ("read", "[8388608,1,\"disk.qcow2\"]", -32005),
        ("read", "[18446744073709551615,4194304,\"disk.qcow2\"]", -32005), ("read", "[0,1]", -32010),
        ("open", "[\"/etc/hostname\"]", -32010), ("info", "[\"../disk.qcow2\"]", -32010),
        ("inspect", "[\"more/../disk.qcow2\"]", -32010), ("info", "[\"disk.qcow2@friday\"]", -32010),
        ("read", "[0,1,\"disk.qcow2@tuesday\"]", -32010), ("read", "[0,1,\"parted.raw/p2\"]", -32010),
        ("diff", "{\"a\":\"disk.qcow2\",\"b\":\"copy.qcow2\",\"sector-size\":1000}", -32602),
        ("cancel", "{}", -32602), ("get_version", "[1]", -32602),
    ]

    @Test func `say what is wrong by a code, and what an image's error is about`() throws {
        let folder = try Self.images()
        let served = try ImageServer([folder.path])
        let client = try served.connect()
        for (method, params, code) in Self.wrongCalls {
            let answer = try client.call(method, params)
            #expect(answer.code == code && answer["error", "message"]?.text?.isEmpty == false, "\(method): \(answer)")
        }
        let data = try client.call("open", "[\"corrupt.qcow2\"]")["error", "data"]
        #expect(data?["kind"]?.text == "corrupt" && data?["path"]?.text == "corrupt.qcow2")
        #expect(try client.call("open", "[\"orphan.qcow2\"]")["error", "data", "errno"]?.number == Int(ENOENT))
    }

    @Test func `tell what is lost of a disk, where they are to go on`() throws {
        let folder = try Self.images()
        // The file ends behind the first cluster of data.
        try Shell.check("cd \"$1\"; cp disk.qcow2 torn.qcow2; truncate -s 384K torn.qcow2", folder.path)
        let served = try ImageServer([folder.path])
        let client = try served.connect()
        let verb = try RBlock.run(
            ["read", "--ignore-read-errors", "--length", "4M", "--output", "json", folder.file("torn.qcow2")])
        let same = try JSONValue(parsing: verb.output)
        #expect(same["lost"]?.array?.isEmpty == false)
        let read = "\"offset\":0,\"length\":4194304,\"ignore-read-errors\":true"
        let torn = try client.call("read", "{\"image\":\"torn.qcow2\",\(read)}")["result"]
        for key in ["data", "size"] { #expect(torn?[key] == same[key]) }
        #expect(torn?["lost"] == same["lost"]?.removing("\(folder.path)/"), "\(String(describing: torn?["lost"]))")
        let whole = try client.call("read", "{\"image\":\"disk.qcow2\",\(read)}")["result"]
        #expect(whole?["lost"]?.array?.isEmpty == true && whole?["data"]?.text != torn?["data"]?.text)
        #expect(try client.call("read", "[0,4194304,\"torn.qcow2\"]").code == -32003)
        let raw = try served.rpc(
            "--raw", "read", "offset=0", "length=4194304", "image=torn.qcow2", "ignore-read-errors=true")
        #expect(
            raw.status == 2 && raw.output.count == 4 << 20 && raw.errors.contains("could not be read"), "\(raw.errors)")
        let pair = "\"a\":\"torn.qcow2\",\"b\":\"disk.qcow2\""
        let diff = try client.call("diff", "{\(pair),\"ignore-read-errors\":true}")["result"]
        #expect(diff?["lost"]?.array?.first?["disk"]?.text == "a" && diff?["identical"] == nil, "\(diff as Any)")
        #expect(try client.call("diff", "{\(pair)}").code == -32003)
    }

    @Test func `keep a disk that is open as it was, and say when it is written to`() throws {
        let folder = try TemporaryFolder()
        try Shell.check("qemu-img create -q -f qcow2 \"$1\" 1M", folder.file("disk.qcow2"))
        let served = try ImageServer([folder.file("disk.qcow2")])
        let (first, second) = (try served.connect(), try served.connect())
        _ = try first.call("open")
        // Another file takes its name.
        try Shell.check(
            "cd \"$1\"; qemu-img create -q -f qcow2 new 2M; mv new disk.qcow2", folder.path)
        let read = "{\"image\":\"disk.qcow2\",\"offset\":0,\"length\":1}"
        #expect(try first.call("read", read)["result", "size"]?.number == 1 << 20)
        #expect(try second.call("read", read)["result", "size"]?.number == 2 << 20)
        #expect(try first.call("close", "[\"disk.qcow2\"]")["result"]?.number == 1)
        #expect(try first.call("open")["result", "size"]?.number == 2 << 20)
        try Shell.check(
            "qemu-io -f qcow2 -c 'write 0 64k' \"$1\" >/dev/null; touch -d '+1 hour' \"$1\"", folder.file("disk.qcow2"))
        let isTold = HostTools.wait(seconds: 60) { (try? first.call("read", read))?.code == -32006 }
        #expect(isTold)
        #expect(try second.call("read", read)["result", "size"]?.number == 2 << 20)
    }
}
