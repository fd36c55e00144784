import Foundation
import HostTools
import TestImages
import Testing

@Suite("JSON-RPC: the memory of answers", .enabled(if: Tool.areThere("qemu-img", "bash")))
struct RPCMemoryTests {
    @Test func `long answers wait for those before them, whatever these hold`() throws {
        let folder = try TemporaryFolder()
        try folder.write([UInt8](repeating: 7, count: 8 << 20), to: "disk.raw")
        let server = try ImageServer([folder.file("disk.raw")])
        let client = try server.connect()
        // Each of these may have all that one client may have; the first is not all of that.
        for length in [65536, 1 << 20, 4 << 20] {
            let requests =
                "{\"method\":\"read\",\"params\":[0,\(length)],\"id\":1}\n{\"method\":\"map\",\"id\":2}\n"
                + "{\"method\":\"inspect\",\"id\":3}\n{\"method\":\"map\",\"id\":4}\n"
            try client.send(Array(requests.utf8))
            var ids: Set<Int> = []
            for _ in 0..<4 {
                var answer = try client.answer()
                // On a busy machine what takes long is heard of before it is answered.
                while answer["method"] != nil { answer = try client.answer() }
                #expect(answer["result"] != nil)
                ids.insert(try #require(answer["id"]?.number))
            }
            #expect(ids == [1, 2, 3, 4])
        }
    }
}

/// Requests for images that hang.
@Suite(.serialized, .enabled(if: Tool.canFault("qemu-img", "bash")))
struct `Requests for an image that does not answer` {
    private let folder: TemporaryFolder
    private let faults: FaultFolder

    init() throws {
        folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        for name in ["good.raw", "hung@1.raw", "hung@2.raw"] {
            try Pattern.writeDisk("\(images)/\(name)", size: 4 << 20, seed: 5)
        }
        faults = try FaultFolder(images)
    }

    private func read(_ name: String, _ id: Int) -> String {
        "{\"id\":\(id),\"method\":\"read\",\"params\":{\"image\":\"\(name)\",\"offset\":0,\"length\":4194304}}"
    }

    @Test func `leave memory and threads to others, can be cancelled, and end with their client`() throws {
        let server = try ImageServer([faults.path])
        let other = try server.connect()
        for name in ["good.raw", "hung@1.raw", "hung@2.raw"] {
            #expect(try other.call("info", "{\"image\":\"\(name)\"}")["result"] != nil)
        }
        try faults.hang(.read, of: "hung@1.raw")
        var clients: [LineClient] = []
        for _ in 0..<12 {
            let client = try server.connect()
            for id in 0..<7 {
                try client.send(
                    "{\"id\":\(id),\"method\":\"diff\",\"params\":{\"a\":\"hung@1.raw\",\"b\":\"good.raw\"}}")
                try client.send(read("hung@1.raw", 100 + id))
            }
            clients.append(client)
        }
        usleep(500_000)
        for name in ["good.raw", "hung@2.raw"] {
            try other.send(read(name, 7))
            #expect(try other.answer()["result"] != nil, "\(name)")
            #expect(try other.call("map", "{\"image\":\"\(name)\"}")["result"] != nil, "\(name)")
        }
        // Those that wait in a queue are cancelled, too.
        let waiting = clients[5]
        try waiting.send("{\"id\":1000,\"method\":\"cancel\",\"params\":{\"id\":3}}")
        let answers = try [waiting.answer(), waiting.answer()]
        #expect(Set(answers.map { $0["id"]?.number }) == [3, 1000])
        #expect(answers.contains { $0["error"] != nil } && answers.contains { $0["result"] != nil })
        clients = []
        try other.send(read("good.raw", 8))
        #expect(try other.answer()["result"] != nil)
        try faults.clear()
    }

    @Test(arguments: [true, false])
    func `keep no quick request of their connection waiting, nor a cancel`(servesFolder: Bool) throws {
        let server = try ImageServer([servesFolder ? faults.path : faults.file("hung@1.raw")])
        try faults.hang(.read, of: "hung@1.raw")
        let client = try server.connect()
        let image = servesFolder ? "\"image\":\"hung@1.raw\"," : ""
        // More than are done at once.
        for id in 0..<60 {
            try client.send("{\"id\":\(id),\"method\":\"read\",\"params\":{\(image)\"offset\":0,\"length\":9}}")
        }
        for method in ["get_version", "stats", "list"] {
            #expect(try client.call(method)["result"] != nil, "\(method)")
        }
        for id in [59, 0] {
            try client.send("{\"id\":1000,\"method\":\"cancel\",\"params\":[\(id)]}")
            let answers = try [client.answer(), client.answer()]
            #expect(Set(answers.map { $0["id"]?.number }) == [id, 1000], "\(answers)")
            #expect(answers.contains { $0.code == -32012 } && answers.contains { $0["result"] == .bool(true) })
        }
        try faults.clear()
        var ids: Set<Int> = []
        for _ in 0..<58 { ids.insert(try #require(client.answer()["id"]?.number)) }
        #expect(ids == Set(1..<59))
    }

    @Test func `over HTTP end with the client's side of the connection`() throws {
        let server = try ImageServer([faults.path])
        try faults.hang(.read, of: "hung@1.raw")
        let client = try server.connect()
        let body = "{\"id\":1,\"method\":\"check\",\"params\":{\"image\":\"hung@1.raw\",\"data\":true,\"quiet\":true}}"
        let head =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
        try client.send(Array((head + body).utf8))
        usleep(300_000)
        client.endOutput()
        #expect(try client.line() == nil)
        #expect(try server.connect().call("map", "{\"image\":\"good.raw\"}")["result"] != nil)
        try faults.clear()
    }
}
