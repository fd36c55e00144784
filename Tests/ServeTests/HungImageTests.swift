import Foundation
import HostTools
import TestImages
import Testing

/// One image of a folder hangs, whatever is asked of it; the others are served.
@Suite(.serialized, .enabled(if: NBDPython.isThere && Tool.canFault("qemu-img", "bash")))
struct `A server with an image that does not answer` {
    private let folder: TemporaryFolder
    private let faults: FaultFolder

    init() throws {
        folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk("\(images)/good.raw", size: 4 << 20, seed: 5)
        try Pattern.writeDisk("\(images)/hung.raw", size: 4 << 20, seed: 6)
        try Shell.check("qemu-img convert -O qcow2 \"$1/hung.raw\" \"$1/hung.qcow2\"", images)
        faults = try FaultFolder(images)
    }

    /// Runs `script`, a client of NBD written in Python, which has to end in time.
    private func nbd(_ server: ImageServer, _ script: String) throws {
        let text =
            NBDPython.rawClient + """
                import time
                path = sys.argv[1]
                def ask(c, cookie, offset, size): c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, cookie, offset, size))
                def read(c, offset, size):
                    ask(c, 1, offset, size)
                    assert struct.unpack(">IIQ", c.take(16)) == (0x67446698, 0, 1); return c.take(size)
                def enter(name, timeout=10):
                    c = Client(path); c.s.settimeout(timeout); c.go(name); return c

                """ + script
        let result = try Tool.run(NBDPython.interpreter, ["-c", text, server.socket], timeout: 300)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
    }

    @Test(arguments: [[], ["--probe"]])
    func `offers all others, where a descriptor does not say what its parts are`(options: [String]) throws {
        let images = folder.file("images")
        try Shell.check(
            "cd \"$1\" && qemu-img convert -O vmdk -o subformat=monolithicFlat good.raw vm.vmdk && cp good.raw stdin",
            images)
        for name in ["vm.vmdk", "stdin"] { try faults.hang(.read, of: name) }
        let server = try ImageServer([faults.path], options: options)
        try nbd(server, "assert len(read(enter(b'good.raw'), 4096, 65536)) == 65536")
        let names = try server.connect().call("list")["result"]?.array?.compactMap { $0["name"]?.text } ?? []
        #expect(names.contains("good.raw") && !names.contains("vm-flat.vmdk"), "\(names)")
        try faults.clear()
    }

    @Test func `answers all others while reads of it hang, and ends on SIGTERM`() throws {
        let server = try ImageServer([faults.path])
        try nbd(server, "enter(b'good.raw'); enter(b'hung.raw'); enter(b'hung.qcow2')")
        for name in ["hung.raw", "hung.qcow2"] { try faults.hang(.read, of: name) }
        try nbd(
            server,
            """
            old = [enter(b"good.raw") for _ in range(6)]
            bad = [enter(b"hung.raw") for _ in range(6)]
            for i, c in enumerate(bad):
                for k in range(40): ask(c, k, (1 << 20) + 65536 * i + 4096 * k, 4096)
                ask(c, 99, 0, 2 << 20)
            time.sleep(0.5)
            for c in old: assert len(read(c, 4096, 65536)) == 65536
            assert len(read(enter(b"good.raw"), 0, 1 << 20)) == 1 << 20
            """)
        let client = try server.connect()
        for id in 0..<12 {
            try client.send(
                "{\"id\":\(id),\"method\":\"read\",\"params\":{\"image\":\"hung.raw\",\"offset\":\(id * 131072),\"length\":9}}"
            )
        }
        let other = try server.connect()
        for method in ["get_version", "stats", "list"] { #expect(try other.call(method)["result"] != nil, "\(method)") }
        #expect(try other.call("read", "{\"image\":\"good.raw\",\"offset\":0,\"length\":512}")["result"] != nil)
        #expect(try other.call("check", "{\"image\":\"good.raw\",\"data\":true}")["result"] != nil)
        let begin = ContinuousClock.now
        server.stop()
        #expect(server.endStatus(seconds: 20) == 0, "\(server.errors)")
        #expect(begin.duration(to: .now) < .seconds(10))
        withExtendedLifetime(client) {}
        try faults.clear()
    }

    @Test func `lists all others, and says that it does not answer`() throws {
        let server = try ImageServer([faults.path])
        try faults.hang(.open, of: "hung.raw")
        try nbd(
            server,
            """
            import threading
            names = []
            def list():
                c = Client(path); c.s.settimeout(30)
                names.append(sorted(d[4:4 + struct.unpack(">I", d[:4])[0]] for k, d in c.option(3) if k == 2))
            threads = [threading.Thread(target=list) for _ in range(20)]
            for t in threads: t.start()
            time.sleep(0.2)
            assert len(read(enter(b"good.raw"), 0, 4096)) == 4096
            for t in threads: t.join()
            assert all(n == [b"good.raw", b"hung.qcow2", b"hung.raw"] for n in names) and len(names) == 20, names
            """)
        let list = try server.connect().call("list")["result"]?.array
        #expect(list?.count == 3)
        #expect(
            list?.first { $0["name"]?.text == "hung.raw" }?["error", "message"]?.text?.contains("does not answer")
                == true)
        try faults.clear()
        let isBack = wait(seconds: 60) {
            (try? server.connect().call("info", "{\"image\":\"hung.raw\"}"))?["result"] != nil
        }
        #expect(isBack)
    }

    @Test func `lets requests for it be cancelled by who asked, and be forgotten when they go`() throws {
        let server = try ImageServer([faults.path])
        #expect(try server.connect().call("info", "{\"image\":\"hung.qcow2\"}")["result"] != nil)
        try faults.hang(.read, of: "hung.qcow2")
        for _ in 0..<8 {
            let client = try server.connect()
            for id in 0..<16 {
                try client.send(
                    "{\"id\":\(id),\"method\":\"check\",\"params\":{\"image\":\"hung.qcow2\",\"data\":true}}")
            }
        }
        #expect(try server.connect().call("check", "{\"image\":\"good.raw\",\"data\":true}")["result"] != nil)
        try faults.clear()
        #expect(try server.connect().call("check", "{\"image\":\"hung.qcow2\",\"data\":true}")["result"] != nil)
    }

    @Test func `lists what was there while its folder does not answer`() throws {
        let server = try ImageServer([faults.path])
        func names() throws -> [String] {
            try server.connect().call("list")["result"]?.array?.compactMap { $0["name"]?.text } ?? []
        }
        #expect(try wait(seconds: 60) { try names() == ["good.raw", "hung.qcow2", "hung.raw"] })
        try faults.hang(.list, of: "")
        #expect(try names() == ["good.raw", "hung.qcow2", "hung.raw"])
        #expect(try server.connect().call("open", "{\"image\":\"good.raw\"}")["result"] != nil)
        try faults.clear()
    }
}
