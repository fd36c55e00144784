import Foundation
import HostTools
import TestImages
import Testing

/// What `rblock serve --access-log` writes of each event, for programs and for people.
@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("nbdinfo", "nbdcopy")))
struct `The access log of a server` {
    let folder: TemporaryFolder
    let disk: String
    let log: String

    init() throws {
        folder = try TemporaryFolder()
        disk = folder.file("disk.raw")
        log = folder.file("access.log")
        try Pattern.writeDisk(disk, size: 4 << 20, seed: 9)
    }

    private func serve(_ options: String...) throws -> ImageServer {
        try ImageServer([disk], options: ["--access-log", log] + options)
    }

    /// The lines of the log once there are `count` that are `event`.
    private func events(_ event: String, count: Int = 1) throws -> [JSONValue] {
        var found: [JSONValue] = []
        _ = try wait(seconds: 20) {
            let text = try String(contentsOfFile: log, encoding: .utf8)
            found = try text.split(separator: "\n").map { try JSONValue(parsing: Data($0.utf8)) }
            return found.count { $0["event"]?.text == event } >= count
        }
        let these = found.filter { $0["event"]?.text == event }
        guard these.count >= count else { throw ToolFailure(description: "no \(count) of \(event): \(found)") }
        return these
    }

    @Test func `is never written to the end of an image`() throws {
        let image = folder.file("image.qcow2")
        try QemuImg.create(image, size: 1 << 20)
        try Shell.check(
            "cd \"$1\"; ln -s image.qcow2 soft; ln image.qcow2 hard; mkfifo pipe", folder.path)
        for name in ["image.qcow2", "disk.raw", "soft", "hard", "pipe"] {
            let before = try Shell.check("cat \"$1\"/*.qcow2 \"$1\"/*.raw | sha256sum", folder.path)
            let result = try RBlock.run([
                "serve", "--nbd", "unix:\(folder.file("s"))", "--access-log", folder.file(name), folder.path,
            ])
            #expect(result.status == 1, "\(name): \(result.errors)")
            // A pipe that nothing reads is not waited for.
            let words = name == "pipe" ? "open: " : "holds something else than a log"
            #expect(result.errors.contains("\(folder.file(name)): \(words)"), "\(result.errors)")
            #expect(try Shell.check("cat \"$1\"/*.qcow2 \"$1\"/*.raw | sha256sum", folder.path) == before, "\(name)")
        }
    }

    @Test func `has the life of a connection, in JSON`() throws {
        let server = try serve()
        // A megabyte in each form of replies that has data: whole, in pieces, and of the end of the disk.
        try NBDPython.check(
            NBDPython.rawClient + """
                def read(c, offset, size, structured):
                    c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 5, offset, size))
                    if not structured: return c.take(16 + size)
                    while True:
                        magic, flags, kind, cookie, count = struct.unpack(">IHHQI", c.take(20))
                        c.take(count)
                        if flags & 1: return
                for structured in [False, True]:
                    c = Client(sys.argv[1])
                    if structured: c.option(8)
                    c.go(b"disk.raw")
                    for offset, size in [(0, 3 << 20), (3 << 20, 1000), (5, 512), ((4 << 20) - 4096, 4096)]:
                        read(c, offset, size, structured)
                    c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 5, 4 << 20, 1)); c.take(16)
                    c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 5, 0, 0))
                    if not structured: assert c.s.recv(1) == b""
                """, server.socket)
        let ends = try events("disconnect", count: 2)
        let read = (3 << 20) + 1000 + 512 + 4096
        #expect(
            ends.map { $0["bytes-read"]?.number } == [read, read] && ends.map { $0["requests"]?.number } == [5, 5])
        let (connect, export, end) = (try events("connect")[0], try events("export")[0], ends[0])
        for event in [connect, export, end] {
            #expect(
                event["protocol"]?.text == "nbd" && event["connection"]?.number == 1 && event["schema"]?.number == 1)
            #expect(event["uid"]?.number == Int(getuid()) && event["pid"]?.number ?? 0 > 0)
            #expect(event["peer"]?.text?.hasPrefix("pid ") == true)
            #expect(event["time"]?.text?.wholeMatch(of: /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/) != nil, "\(event)")
        }
        #expect(connect["address"]?.text == "unix:\(server.socket)" && connect["export"] == nil)
        #expect(export["export"]?.text == "disk.raw" && export["size"]?.number == 4 << 20)
        #expect(end["export"]?.text == "disk.raw" && end["orderly"] == .bool(true) && end["reason"] == nil, "\(end)")
        #expect(end["duration-seconds"] != nil)
    }

    @Test func `has the same for people, and nothing of how the server is made`() throws {
        let text = folder.file("text.log")
        let port = folder.file("port")
        try CleanUp.register("kill $(cat \"$1\") 2>/dev/null", folder.file("pid"))
        try Shell.check(
            """
            "$1" serve --verbose --nbd tcp:127.0.0.1:0 --access-log "$2" "$3" 2>"$4" & echo $! >"$5"
            until grep -q 'NBD at' "$4"; do sleep 0.05; done
            uri=$(sed -n 's/.*NBD at //p' "$4")
            nbdcopy "$uri" - >"$6"; nbdinfo "$uri/nope" 2>/dev/null || true
            python3 -c 'import socket, sys; h, p = sys.argv[1].rsplit("/")[-1].split(":"); s = socket.create_connection((h, int(p))); s.recv(18); s.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n"); s.recv(1)' "$uri"
            kill $!; wait $!
            """, Tool.rblock, text, disk, port, folder.file("pid"), folder.file("copy"))
        let logged = try String(contentsOfFile: text, encoding: .utf8)
        let said = try String(contentsOfFile: port, encoding: .utf8)
        for pattern in [
            #/127\.0\.0\.1:\d+: connected to tcp:127\.0\.0\.1:\d+/#,
            #/127\.0\.0\.1:\d+: opened export "disk.raw", 4194304 bytes/#,
            #/127\.0\.0\.1:\d+: unknown export "nope": is not served/#,
            #/127\.0\.0\.1:\d+: refused: does not speak NBD: its flags are 0x47455420/#,
            #/127\.0\.0\.1:\d+: disconnected from export "disk.raw": \d+ requests?, \d+ bytes read, \d+\.\d s/#,
        ] {
            #expect(logged.contains(pattern), "\(logged)")
            #expect(said.contains(pattern), "\(said)")
        }
        for line in logged.split(separator: "\n") {
            #expect(line.contains(#/^\d{4}-\d\d-\d\dT[\d:.]+Z 127\.0\.0\.1:\d+: /#), "\(line)")
        }
        for word in ["NIO", "SSL", "Channel", "errno", "Error", "[", "sl-", "Swift"] {
            #expect(!logged.contains(word) && !said.contains(word), "\(word): \(logged)\(said)")
        }
    }

    @Test func `says who is refused, and why`() throws {
        let server = try serve()
        let client = try server.connect()
        try client.send("{\"a")
        _ = try client.line()
        try client.send(
            "{\"method\":\"read\",\"params\":{\"image\":\"\\u001b[31mnone\",\"offset\":0,\"length\":1},\"id\":1}")
        _ = try client.line()
        let unknown = try events("unknown-export")[0]
        #expect(unknown["export"]?.text == "\u{1b}[31mnone" && unknown["protocol"]?.text == "json-rpc", "\(unknown)")
        #expect(try !String(contentsOfFile: log, encoding: .utf8).contains("\u{1b}"))
        let http = try LineClient(port: server.rpcPort)
        try http.send("GET /x HTTP/1.1\r\nHost: a\r\n\r")
        _ = try http.line()
        try NBDPython.check(
            NBDPython.rawClient + """
                for name in [b"x" * 4000, b"\\xc3\\xa9\\n\\x1b"]:
                    c = Client(sys.argv[1])
                    c.option(7, struct.pack(">I", len(name)) + name + bytes(2))
                c = Client(sys.argv[1]); c.s.sendall(b"garbage" * 10); c.s.recv(1)
                try: Client(sys.argv[1], flags=0xffff).s.recv(1)
                except EOFError: pass
                """, server.socket)
        let reasons = try events("refused", count: 4).compactMap { $0["reason"]?.text }
        for word in ["no JSON", "HTTP GET", "IHAVEOPT", "flags are 0xffff"] {
            #expect(reasons.contains { $0.contains(word) }, "\(word): \(reasons)")
        }
        let names = try events("unknown-export", count: 3).compactMap { $0["export"]?.text }
        #expect(names.contains("é\n\u{1b}") && names.contains(String(repeating: "x", count: 256) + "…"), "\(names)")
        let text = try String(contentsOfFile: log, encoding: .utf8)
        #expect(!text.contains("\u{1b}") && !text.utf8.contains(0x7f))
    }

    @Test func `says how connections end`() throws {
        let server = try serve()
        try NBDPython.check(
            NBDPython.rawClient + """
                import os, signal
                c = Client(sys.argv[1]); c.option(2); c.s.recv(1)
                c = Client(sys.argv[1]); c.s.close()
                c = Client(sys.argv[1]); c.go(); c.s.close()
                c = Client(sys.argv[1]); c.go(); c.s.sendall(b"\\x25\\x60\\x95"); c.s.close()
                child = os.fork()
                if child == 0:
                    c = Client(sys.argv[1]); c.option(8); c.go()
                    for i in range(8): c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, i, 0, 4 << 20))
                    c.take(1); os.kill(os.getpid(), signal.SIGKILL)
                os.waitpid(child, 0)
                """, server.socket)
        let client = try server.connect()
        _ = try client.call("list")
        client.endOutput()
        #expect(try client.line() == nil)
        let ends = try events("disconnect", count: 6)
        func reason(_ index: Int) -> String? { ends.first { $0["connection"]?.number == index }?["reason"]?.text }
        func isOrderly(_ index: Int) -> Bool {
            ends.first { $0["connection"]?.number == index }?["orderly"] == .bool(true)
        }
        #expect(isOrderly(1) == true && reason(1) == nil)
        #expect(isOrderly(2) == false && reason(2)?.contains("in the handshake") == true, "\(ends[1])")
        #expect(isOrderly(3) == false && reason(3)?.contains("without NBD_CMD_DISC") == true, "\(ends[2])")
        #expect(isOrderly(4) == false && reason(4)?.contains("in the middle of a request") == true, "\(ends[3])")
        #expect(isOrderly(5) == false && reason(5)?.contains("the client") == true, "\(ends[4])")
        let last = ends.first { $0["connection"]?.number == 6 }
        #expect(last?["protocol"]?.text == "json-rpc" && last?["requests"]?.number == 1 && isOrderly(6) == true)
        // A server that stops logs the ends of the connections that there are.
        let left = try server.connect()
        _ = try left.call("read", "{\"offset\":0,\"length\":1000}")
        server.stop()
        #expect(server.endStatus() == 0)
        let stopped = try events("disconnect", count: 7).last
        #expect(stopped?["reason"]?.text == "the server stops" && stopped?["bytes-read"]?.number == 1000, "\(ends)")
    }

    @Test func `is bounded, however many clients come, and says what it lacks`() throws {
        let server = try serve()
        try NBDPython.check(
            NBDPython.rawClient + """
                for i in range(1500):
                    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.recv(18); s.close()
                c = Client(sys.argv[1]); c.go(); c.s.close()
                """, server.socket)
        // An export is logged although strangers have used up their part.
        #expect(try events("export").count == 1)
        let lost = try events("lost").compactMap { $0["count"]?.number }.reduce(0, +)
        let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").count
        #expect(lost > 1000 && lines < 2000, "\(lost) lost, \(lines) lines")
        let client = try server.connect()
        for index in 0..<20 { _ = try client.call("info", "{\"image\":\"none\(index)\"}") }
    }

    @Test func `goes on in a new file after SIGHUP`() throws {
        let server = try serve()
        _ = try server.rpc("list")
        #expect(try events("disconnect").count == 1)
        try FileManager.default.moveItem(atPath: log, toPath: log + ".1")
        kill(server.process, SIGHUP)
        #expect(wait(seconds: 20) { FileManager.default.fileExists(atPath: log) })
        _ = try server.rpc("list")
        #expect(try events("disconnect")[0]["connection"]?.number == 2)
        #expect(server.isRunning)
    }

    @Test func `goes to standard output, behind the addresses, and holds up no client that nothing reads it`() throws {
        let result = try Shell.run(
            """
            mkfifo "$4"; sleep 30 <"$4" & reader=$!
            "$1" serve --output json --access-log - --nbd "unix:$2" "$3" >"$4" 2>/dev/null & server=$!
            until test -S "$2"; do sleep 0.05; done
            for i in $(seq 300); do timeout 20 nbdinfo --size "nbd+unix:///?socket=$2" >/dev/null || echo held; done
            kill $server; wait $server; echo "status $?"; kill $reader
            """, Tool.rblock, folder.file("sock"), disk, folder.file("fifo"))
        #expect(result.text == "status 0\n", "\(result.text)\(result.errors)")
        let lines = try Shell.run(
            """
            "$1" serve --output json --access-log - --nbd "unix:$2" "$3" >"$4" & server=$!
            until test -S "$2"; do sleep 0.05; done
            nbdinfo --size "nbd+unix:///?socket=$2" >/dev/null; kill $server; wait $server; cut -c1-8 "$4"
            """, Tool.rblock, folder.file("sock2"), disk, folder.file("lines"))
        #expect(lines.status == 0, "\(lines.errors)")
        let documents = try String(contentsOfFile: folder.file("lines"), encoding: .utf8).split(separator: "\n").map {
            try JSONValue(parsing: Data($0.utf8))
        }
        #expect(documents.map { $0["event"]?.text } == [nil, "connect", "export", "disconnect"], "\(documents)")
        let wrong = try RBlock.run(["serve", "--rpc", "stdio", "--access-log", "-", disk])
        #expect(wrong.status == 64)
        let missing = try RBlock.run(["serve", "--access-log", folder.file("none/log"), disk])
        #expect(missing.status == 1 && missing.errors.contains("none/log: open: No such file"), "\(missing.errors)")
    }
}
