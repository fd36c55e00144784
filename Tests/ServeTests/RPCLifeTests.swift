import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "JSON-RPC: standard streams, HTTP, the client, and the end", .enabled(if: Tool.areThere("qemu-img", "curl", "bash"))
)
struct RPCLifeTests {
    private static func image() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check("qemu-img create -q -f qcow2 \"$1\" 4M", folder.file("disk.qcow2"))
        return folder
    }

    @Test func `standard input and output may be pipes or files, and the server ends with its input`() throws {
        let folder = try Self.image()
        let requests = "{\"method\":\"read\",\"params\":[0,8],\"id\":1}\n[{\"method\":\"list\",\"id\":2}]\n{\"method\""
        let path = try folder.write(Array(requests.utf8), to: "requests")
        for script in [
            "\"$1\" serve --rpc stdio \"$2\" <\"$3\" >\"$3.answers\"; cat \"$3.answers\"",
            "cat \"$3\" | \"$1\" serve --rpc stdio \"$2\" | cat",
        ] {
            let text = try Shell.check(script, Tool.rblock, folder.file("disk.qcow2"), path)
            let lines = text.split(separator: "\n").sorted()
            #expect(lines.count == 3, "\(text)")
            #expect(lines[0].hasPrefix("[{") && lines[0].contains("\"disk.qcow2\""))
            #expect(lines[1].contains("\"data\":\"AAAAAAAAAAA=\"") && lines[2].contains("-32700"))
        }
        let ended = try Shell.run(
            "echo '{\"method\":\"shutdown\",\"id\":1}' | \"$1\" serve --rpc stdio \"$2\"", Tool.rblock,
            folder.file("disk.qcow2"))
        #expect(ended.status == 0 && ended.text.contains("\"result\":true") && ended.errors == "", "\(ended.errors)")
    }

    @Test func `HTTP clients post a request or a batch, and web pages cannot`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        func curl(_ arguments: String...) throws -> ToolResult {
            try Tool.run(
                "curl",
                ["-sS", "--max-time", "60", "-w", " %{http_code}", "--unix-socket", served.rpcSocket] + arguments
                    + ["http://rblock/"])
        }
        let json = ["-H", "Content-Type: application/json; charset=utf-8"]
        let call = "{\"method\":\"get_version\",\"id\":42}"
        let one = try curl(json[0], json[1], "-d", call)
        #expect(
            one.text.hasPrefix("{\"jsonrpc\":\"2.0\",\"id\":42,\"result\":") && one.text.hasSuffix(" 200"), "\(one)")
        #expect(try curl(json[0], json[1], "-d", "[\(call),\n\(call)]").text.hasPrefix("[{"))
        #expect(try curl(json[0], json[1], "-d", "{\"method\":\"list\"}").text == " 204")
        #expect(try curl(json[0], json[1], "-d", "{").text.contains("-32700"))
        #expect(try curl("-X", "GET").text == " 405")
        #expect(try curl("-d", call).text == " 415")
        #expect(try curl(json[0], json[1], "-H", "Origin: http://evil.example", "-d", call).text == " 403")
        let large = try folder.write([UInt8](repeating: UInt8(ascii: " "), count: 2 << 20), to: "large")
        #expect(try curl(json[0], json[1], "-H", "Expect:", "--data-binary", "@\(large)").text.contains("413"))
        // Two requests on one connection.
        let address = "http://127.0.0.1:\(served.rpcPort)/"
        let tcp = try Tool.run("curl", ["-sS", "--max-time", "60"] + json + ["-d", call, address, address])
        #expect(tcp.text.components(separatedBy: "\"result\"").count == 3, "\(tcp)")
    }

    @Test func `rblock rpc is a client for people`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        let list = try served.rpc("list")
        #expect(list.status == 0 && list.text.hasPrefix("[\n  {\n    \"name\": \"disk.qcow2\",\n"), "\(list)")
        #expect(try served.rpc("read", "offset=0", "length=3", "--output", "json").text.contains("\"data\":\"AAAA\""))
        #expect(try served.rpc("--raw", "read", "[0, 5]").output == Data(count: 5))
        let named = try served.rpc("check", "image=disk.qcow2", "data=true")
        #expect(named.status == 0 && named.text.contains("\"check-errors\": 0"), "\(named)")
        let wrong = try served.rpc("read", "{\"offset\": 1}")
        #expect(wrong.status == 1 && wrong.output.isEmpty && wrong.errors.contains("length: is missing (-32602)"))
        for arguments in [["read", "{1}"], ["read", "offset"], ["read", "=1"], ["list", "--raw"]] {
            #expect(try RBlock.run(["rpc", served.rpcSocket] + arguments).status == 64, "\(arguments)")
        }
        let tcp = try RBlock.run(["rpc", "tcp:localhost:\(served.rpcPort)", "get_version"])
        #expect(tcp.status == 0 && tcp.text.contains("\"name\": \"rblock\""), "\(tcp)")
        let gone = try RBlock.run(["rpc", folder.file("missing"), "list"])
        #expect(
            gone.status == 1 && gone.errors.hasPrefix("rblock: unix:") && gone.errors.contains("connect: No such file"))
    }

    @Test func `a client may end the server over a Unix socket, and not over TCP`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        let far = try LineClient(port: served.rpcPort)
        #expect(try far.call("shutdown").code == -32004)
        let near = try served.connect()
        #expect(try near.call("shutdown")["result"] == .bool(true))
        #expect(try near.line() == nil)
        #expect(served.endStatus() == 0, "\(served.errors)")
        #expect(!FileManager.default.fileExists(atPath: served.rpcSocket))
        withExtendedLifetime(folder) {}
    }

    @Test func `a signal ends the server once what was begun is answered, and nothing is answered by half`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        let clients = try (0..<4).map { _ in try served.connect() }
        let request = "{\"method\":\"read\",\"params\":[0,1048576],\"id\":1}\n"
        for client in clients {
            try client.send(Array(String(repeating: request, count: 60).utf8))
            #expect(try client.answer()["result", "length"]?.number == 1 << 20)
        }
        kill(served.process, SIGTERM)
        for client in clients {
            // Every line is a whole answer, and behind the last one the connection ends.
            while let line = try client.line() {
                #expect(try JSONValue(parsing: Data(line.utf8))["result", "length"]?.number == 1 << 20)
            }
        }
        #expect(served.endStatus() == 0, "\(served.errors)")
        #expect(!FileManager.default.fileExists(atPath: served.rpcSocket))
        withExtendedLifetime(folder) {}
    }

    @Test func `clients that are only connected are no matter when the server ends, others are counted`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        let idle = try (0..<3).map { _ in try served.connect() }
        for client in idle { #expect(try client.call("get_version")["result"] != nil) }
        kill(served.process, SIGTERM)
        #expect(served.endStatus() == 0 && !served.errors.contains("closed"), "\(served.errors)")

        let other = try ImageServer([folder.path])
        let (quiet, deaf) = (try other.connect(), try other.connect())
        #expect(try quiet.call("get_version")["result"] != nil)
        let request = "{\"method\":\"read\",\"params\":[0,1048576],\"id\":1}\n"
        try deaf.send(Array(String(repeating: request, count: 16).utf8))
        // The first of its answers is there, and not taken.
        #expect(try deaf.answer()["result", "length"]?.number == 1 << 20)
        kill(other.process, SIGTERM)
        #expect(other.endStatus() == 0)
        // The other one may have ended by then, or not yet: it is not one of those that the message is about.
        #expect(other.errors.contains(/\b1 connection( of 2)? closed whose client/), "\(other.errors)")
        withExtendedLifetime((folder, idle, quiet, deaf)) {}
    }

    @Test func `clients that do not read their answers keep no other client from its own`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        let request = "{\"method\":\"read\",\"params\":[0,1048576],\"id\":1}\n"
        // Together they ask for more than the server has memory for.
        let deaf = try (0..<16).map { _ in try served.connect() }
        for client in deaf { try client.send(Array(String(repeating: request, count: 16).utf8)) }
        let batch = "[\(Array(repeating: request.dropLast(), count: 5).joined(separator: ","))]"
        let client = try served.connect()
        for _ in 0..<4 { try client.send(batch) }
        for _ in 0..<4 { #expect(try JSONValue(parsing: Data((client.line() ?? "").utf8)).array?.count == 5) }
        withExtendedLifetime((deaf, folder)) {}
    }

    @Test func `a file that is given lies under the one image`() throws {
        let folder = try Self.image()
        try Shell.check(
            """
            cd "$1"; mkdir base; head -c 1M /dev/urandom >base/real.raw
            qemu-img create -q -u -f qcow2 -F raw -b gone.raw over.qcow2 1M
            """, folder.path)
        let over = folder.file("over.qcow2")
        let served = try ImageServer([over], options: ["--backing", folder.file("base/real.raw")])
        let bytes = try served.rpc("--raw", "read", "[0, 1048576]").output
        #expect(try Array(bytes) == Array(Data(contentsOf: URL(fileURLWithPath: folder.file("base/real.raw")))))
        #expect(try ImageServer([over]).rpc("read", "[0, 1]").status == 1)
        // A folder, what names no backing file, and a file that is not there.
        for (image, backing, word) in [
            (folder.path, "base/real.raw", "is a folder"), (folder.file("disk.qcow2"), "base/real.raw", "--backing"),
            (over, "none.raw", "none.raw"),
        ] {
            let result = try RBlock.run(["serve", "--backing", folder.file(backing), image])
            #expect(result.status == 1 && result.errors.contains(word), "\(result)")
        }
        #expect(try RBlock.run(["serve", "--backing", over, over, folder.path]).status == 64)
    }

    @Test func `what cannot be served is refused in one line`() throws {
        let folder = try Self.image()
        let served = try ImageServer([folder.path])
        for (arguments, status, word) in [
            (["--rpc", "unix:\(served.rpcSocket)", folder.path], 1, "another process listens there already"),
            (["--rpc", "tcp:0.0.0.0:0", folder.path], 1, "--insecure"),
            (["--rpc", "unix:\(folder.file("s"))", folder.file("gone.raw")], 1, "gone.raw"),
            (["--rpc", "pigeon:1", folder.path], 64, "pigeon"),
            (["--rpc", "stdio", "--rpc", "stdio", folder.path], 64, "stdio"),
            (["--rpc", "stdio", "--output", "json", folder.path], 64, "stdio"),
        ] {
            let result = try RBlock.run(["serve"] + arguments)
            #expect(result.status == status && result.output.isEmpty && result.errors.contains(word), "\(result)")
        }
        #expect(!FileManager.default.fileExists(atPath: folder.file("s")))
        #expect(try served.rpc("get_version").status == 0)
    }
}
