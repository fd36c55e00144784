import Foundation
import HostTools
import TestImages
import Testing

@Suite("JSON-RPC: lines, batches, and what strangers send", .enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct RPCConnectionTests {
    /// A server of one image of 64 MiB, of which the first eight have their own offsets as bytes.
    private static func serve() throws -> (folder: TemporaryFolder, served: ImageServer) {
        let folder = try TemporaryFolder()
        let pattern = (0..<1 << 20).flatMap { index in withUnsafeBytes(of: UInt64(index * 8).bigEndian) { Array($0) } }
        try folder.write(pattern, to: "start")
        try Shell.check("cd \"$1\"; truncate -s 64M start; qemu-img convert -O qcow2 start disk.qcow2", folder.path)
        return (folder, try ImageServer([folder.file("disk.qcow2")]))
    }

    /// The eight bytes that the disk has at `offset`, in base64.
    private static func base64(at offset: UInt64) -> String {
        withUnsafeBytes(of: offset.bigEndian) { Data($0).base64EncodedString() }
    }

    @Test func `the examples work as they were written`() throws {
        let (folder, served) = try Self.serve()
        let client = try served.connect()
        try client.send(
            #"{ "jsonrpc": "2.0", "method": "read", "params": { "offset": 4096, "length": 512 }, "id": 1 }"#)
        let read = try client.answer()
        let bytes = try #require(read["result", "data"]?.text.flatMap { Data(base64Encoded: $0) })
        #expect(bytes.count == 512 && bytes.prefix(8).base64EncodedString() == Self.base64(at: 4096))
        #expect(read["id"]?.number == 1 && read["result", "image"]?.text == "disk.qcow2")
        try client.send(#"{ "method": "get_version", "id": 42 }"#)
        let version = try client.answer()
        #expect(version["id"]?.number == 42 && version["result", "name"]?.text == "rblock")
        #expect(try Status(served.rpcSocket).permissions == 0o600)
        withExtendedLifetime(folder) {}
    }

    @Test func `ten thousand requests in a row are each answered once, with what they asked for`() throws {
        let (folder, served) = try Self.serve()
        let client = try served.connect()
        let count = 10_000
        let requests = (0..<count).map {
            "{\"method\":\"read\",\"params\":[\($0 * 512),8],\"id\":\"\($0)\"}\n"
        }
        let bytes = Array(requests.joined().utf8)
        let sender = Thread { try? client.send(bytes) }
        sender.start()
        var answered: Set<Int> = []
        for _ in 0..<count {
            let answer = try client.answer()
            let id = try #require(answer["id"]?.text.flatMap { Int($0) })
            answered.insert(id)
            let expected = id * 512 < 8 << 20 ? Self.base64(at: UInt64(id * 512)) : "AAAAAAAAAAA="
            #expect(answer["result", "data"]?.text == expected, "\(id)")
        }
        #expect(answered.count == count)
        withExtendedLifetime(folder) {}
    }

    @Test func `what is no request is answered with an error, and the next line as ever`() throws {
        let (folder, served) = try Self.serve()
        let client = try served.connect()
        let nested = String(repeating: "[", count: 100_000)
        for (line, code) in [
            ("{", -32700), ("hello", -32700), (nested, -32700), ("{\"method\":\"\u{1}\"}", -32700), ("[]", -32600),
            ("7", -32600), ("{\"id\":1}", -32600), ("{\"jsonrpc\":\"3.0\",\"method\":\"list\",\"id\":1}", -32600),
        ] {
            try client.send(line)
            #expect(try client.answer().code == code, "\(line.prefix(40))")
        }
        try client.send(Array("{\"method\":\"get_version\",\"id\":\"".utf8) + [0xff, 0xc0, 0x80] + Array("\"}\n".utf8))
        #expect(try client.answer().code == -32700)
        // Empty lines and line ends of Windows do no harm.
        try client.send(Array("\n\r\n  \n{\"method\":\"get_version\",\"id\":2}\r\n".utf8))
        #expect(try client.answer()["id"]?.number == 2)
        withExtendedLifetime(folder) {}
    }

    @Test func `batches are answered together, and notifications not at all`() throws {
        let (folder, served) = try Self.serve()
        let client = try served.connect()
        try client.send(
            #"[{"method":"get_version","id":1.0},{"method":"get_version"},7,{"method":"read","params":[0,8],"id":"b"}]"#
        )
        let batch = try #require(try client.answer().array)
        #expect(batch.count == 3 && batch[1].code == -32600)
        #expect(batch[2]["id"]?.text == "b" && batch[2]["result", "data"]?.text == Self.base64(at: 0))
        // Nothing comes for these, not even for what fails.
        try client.send(#"[{"method":"get_version"},{"method":"nothing"}]"#)
        try client.send(#"{"jsonrpc":"2.0","method":"nothing","params":[1]}"#)
        try client.send(#"{"method":"get_version","id":null}"#)
        #expect(try client.answer()["id"] == .null)
        let many = Array(repeating: "{\"method\":\"get_version\"}", count: 1001).joined(separator: ",")
        try client.send("[\(many)]")
        #expect(try client.answer().code == -32600)
        // All answers of a batch together are as long as one may be.
        let reads = Array(repeating: "{\"method\":\"read\",\"params\":[0,4194304],\"id\":3}", count: 3)
        try client.send("[\(reads.joined(separator: ","))]")
        #expect(try client.answer().array?.map(\.code) == [nil, -32011, -32011])
        withExtendedLifetime(folder) {}
    }

    @Test func `a line of 100 MiB is refused, and takes no memory`() throws {
        let (folder, served) = try Self.serve()
        let client = try served.connect()
        let before = try served.mostMemory()
        let piece = [UInt8](repeating: UInt8(ascii: "["), count: 1 << 20)
        for _ in 0..<100 { try client.send(piece) }
        try client.send("\n{\"method\":\"get_version\",\"id\":5}")
        #expect(try client.answer().code == -32600)
        #expect(try client.answer()["id"]?.number == 5)
        // A line that fits, and is full of values.
        let values = "[" + String(repeating: "0,", count: 500_000) + "0]"
        try client.send("{\"method\":\"get_version\",\"params\":\(values),\"id\":6}")
        #expect(try client.answer().code == -32700)
        #expect(try served.mostMemory() - before < 32 << 20)
        withExtendedLifetime(folder) {}
    }

    @Test func `whoever does not read gets no more, and keeps no one from being served`() throws {
        let (folder, served) = try Self.serve()
        let greedy = try served.connect()
        let before = try served.mostMemory()
        let request = "{\"method\":\"read\",\"params\":[0,4194304],\"id\":1}\n"
        try greedy.send(Array(String(repeating: request, count: 200).utf8))
        let other = try served.connect()
        for _ in 0..<50 { #expect(try other.call("read", "[8,8]")["result", "data"]?.text == Self.base64(at: 8)) }
        // As many as may be under way, of 5.6 MiB each, some times over: all answers would take 1.1 GiB.
        #expect(try served.mostMemory() - before < 400 << 20)
        // It goes on when they are read.
        for _ in 0..<20 { #expect(try greedy.line()?.utf8.count ?? 0 > 4 << 20) }
        withExtendedLifetime(folder) {}
    }

    @Test func `a client who has ended its side is answered to the last request, with or without a line end`() throws {
        let (folder, served) = try Self.serve()
        let client = try served.connect()
        for id in 0..<100 { try client.send("{\"method\":\"read\",\"params\":[0,65536],\"id\":\(id)}") }
        try client.send(Array("{\"method\":\"get_version\",\"id\":100}".utf8))
        client.endOutput()
        var ids: Set<Int> = []
        while let line = try client.line() {
            ids.insert(try #require(JSONValue(parsing: Data(line.utf8))["id"]?.number))
        }
        #expect(ids == Set(0...100))
        let silent = try served.connect()
        silent.endOutput()
        #expect(try silent.line() == nil)
        withExtendedLifetime(folder) {}
    }

    @Test func `work goes on for a client who only sends no more, and ends with one who is gone`() throws {
        let folder = try TemporaryFolder()
        for name in ["a.raw", "b.raw"] { try Pattern.writeDisk(folder.file(name), size: 32 << 20, seed: 3) }
        let served = try ImageServer([folder.path])
        func batch(_ count: Int) -> String {
            let request = "{\"method\":\"diff\",\"params\":{\"a\":\"a.raw\",\"b\":\"b.raw\",\"quiet\":true},\"id\":1}"
            return "[\(Array(repeating: request, count: count).joined(separator: ","))]"
        }
        for patient in [try served.connect(), try LineClient(port: served.rpcPort)] {
            try patient.send(batch(20))
            patient.endOutput()
            let answers = try patient.answer().array
            #expect(answers?.count == 20 && answers?.allSatisfy { $0["result", "identical"] == .bool(true) } == true)
            #expect(try patient.line() == nil)
        }
        let other = try served.connect()
        func done() throws -> Int { try other.call("stats")["result", "calls", "diff"]?.number ?? 0 }
        for (isReset, endsFirst) in [(false, false), (false, true), (true, false), (true, true)] {
            let before = try done()
            do {
                let client = isReset ? try LineClient(port: served.rpcPort) : try served.connect()
                if isReset { client.resetWhenClosed() }
                try client.send(batch(1000))
                if endsFirst { client.endOutput() }
                #expect(try HostTools.wait(seconds: 60) { try done() > before })
            }
            #expect(try HostTools.wait(seconds: 60) { try other.call("stats")["result", "connections"]?.number == 1 })
            // What was begun may be counted yet.
            usleep(300_000)
            let count = try done()
            usleep(300_000)
            #expect(try done() == count && count - before < 1000, "reset: \(isReset), ended: \(endsFirst)")
        }
    }

    @Test func `a hundred clients are served at once, and one more gets an error that says so`() throws {
        let (folder, served) = try Self.serve()
        var clients: [LineClient] = []
        for _ in 0..<100 {
            clients.append(try served.connect())
            #expect(try clients.last?.call("get_version")["result"] != nil)
        }
        let late = try served.connect()
        #expect(try late.answer().code == -32013)
        #expect(try late.line() == nil)
        clients.removeLast(50)
        let isServed = HostTools.wait(seconds: 60) { (try? served.connect().call("get_version"))?["result"] != nil }
        #expect(isServed)
        #expect(try clients[0].call("read", "[0,8]")["result", "data"]?.text == Self.base64(at: 0))
        withExtendedLifetime(folder) {}
    }

    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `random bytes do no harm`(seed: UInt64) throws {
        let (folder, served) = try Self.serve()
        var random = SeededRandom(seed: seed)
        for _ in 0..<25 {
            let client = try served.connect()
            let words = [
                "{", "}", "[", "\"method\":", "\"read\"", ",", "\"id\":1", "\n", "POST / HTTP/1.1\r\n", "\u{0}",
            ]
            var bytes: [UInt8] = []
            for _ in 0..<Int.random(in: 1...60, using: &random) {
                if Bool.random(using: &random) {
                    bytes += Array((words.randomElement(using: &random) ?? "").utf8)
                } else {
                    bytes += (0..<Int.random(in: 0...40, using: &random)).map { _ in
                        .random(in: 0...255, using: &random)
                    }
                }
            }
            // A server that has heard enough may close the connection.
            try? client.send(bytes)
            if Bool.random(using: &random) { client.endOutput() }
        }
        #expect(
            try served.connect().call("read", "[16,8]")["result", "data"]?.text == Self.base64(at: 16), "seed \(seed)")
        withExtendedLifetime(folder) {}
    }
}
