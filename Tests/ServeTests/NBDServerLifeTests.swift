import Foundation
import TestImages
import Testing

@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("nbdcopy", "nbdinfo", "openssl")))
struct `An NBD server` {
    private func makeDisk(_ size: Int = 16 << 20) throws -> (folder: TemporaryFolder, disk: String) {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk.raw")
        try Pattern.writeDisk(disk, size: UInt64(size), seed: 3)
        return (folder, disk)
    }

    @Test func `that is told to stop answers what it has taken up, and leaves nothing behind`() throws {
        let (folder, disk) = try makeDisk()
        let server = try NBDExports([disk])
        let result = try Shell.run(
            """
            \(NBDPython.interpreter) -c "$1" "$2" "$3" "$4"
            """,
            NBDPython.rawClient + """
                import os, signal
                disk = open(sys.argv[2], "rb").read()
                clients = [Client(sys.argv[1]) for _ in range(4)]
                for c in clients:
                    c.option(8); c.go()
                    for i in range(40):
                        c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, i, i * 300000, 262144))
                # One answer has come: the others are under way.
                firsts = [c.take(1) for c in clients]
                os.kill(int(sys.argv[3]), signal.SIGTERM)
                for c, first in zip(clients, firsts):
                    answered = 0
                    while True:
                        try: head = first + c.take(20 - len(first))
                        except EOFError as end:
                            assert end.args[0] == 0, "half a header"
                            break
                        first = b""
                        magic, flags, kind, cookie, size = struct.unpack(">IHHQI", head)
                        data = c.take(size)
                        assert kind != 0x8001 or struct.unpack(">I", data[:4])[0] == 108, data
                        if kind == 1:
                            at, = struct.unpack(">Q", data[:8])
                            assert data[8:] == disk[at:at + size - 8]
                        answered += 1
                    assert answered > 0
                """, server.socket, disk, "\(server.process)")
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(server.endStatus() == 0, "\(server.errors)")
        #expect(!FileManager.default.fileExists(atPath: server.socket))
        withExtendedLifetime(folder) {}
    }

    @Test func `listens where it is told, and for this host alone unless it is told otherwise`() throws {
        let (folder, disk) = try makeDisk(4096)
        let server = try NBDExports([disk], options: ["--nbd", "tcp:127.0.0.1:0"])
        let tcp = try #require(server.addresses["nbd"]?.array?.compactMap(\.text).first { $0.hasPrefix("tcp:") })
        try Tool.check("nbdcopy", "nbd://\(tcp.dropFirst(4))", folder.file("copy"))
        try Tool.check("cmp", folder.file("copy"), disk)
        for (options, word) in [
            (["--nbd", "tcp:0.0.0.0:0"], "--insecure"), (["--nbd", "unix:\(server.socket)"], "already"),
            (["--nbd", tcp], "already"), (["--tls-certificates", folder.path], "server-cert.pem"), ([disk], "already"),
        ] {
            let result = try RBlock.run(["serve"] + options + [disk])
            #expect(result.status == 1 && result.errors.contains(word), "\(options): \(result.errors)")
        }
        for options in [["--nbd", "udp:1"], ["--tls", "require"], ["--tls-cert", disk], ["--tls-verify-peer"]] {
            #expect(try RBlock.run(["serve"] + options + [disk]).status == 64, "\(options)")
        }
        #expect(try RBlock.run(["serve", folder.file("none")]).status == 1)
        #expect(server.isRunning)
    }

    @Test func `takes the sockets that systemd passes, and tells when it is ready`() throws {
        let (folder, disk) = try makeDisk(4096)
        try CleanUp.register("kill $(cat \"$1\") 2>/dev/null", folder.file("pid"))
        try NBDPython.check(
            NBDPython.rawClient + """
                import os, signal
                folder, rblock, disk = sys.argv[1:]
                notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); notify.settimeout(60)
                notify.bind(folder + "/notify")
                passed = socket.socket(socket.AF_UNIX); passed.bind(folder + "/passed"); passed.listen()
                pid = os.fork()
                if pid == 0:
                    os.dup2(passed.fileno(), 3)
                    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", NOTIFY_SOCKET=folder + "/notify")
                    os.execv(rblock, [rblock, "serve", disk])
                open(folder + "/pid", "w").write(str(pid))
                try:
                    assert b"READY=1" in notify.recv(4096)
                    c = Client(folder + "/passed")
                    assert c.go()[0] == 4096
                finally: os.kill(pid, signal.SIGTERM)
                assert os.waitpid(pid, 0)[1] == 0
                assert os.path.exists(folder + "/passed"), "not ours to remove"
                """, folder.path, Tool.rblock, disk)
    }

    /// A certificate authority, and a server's and a client's certificate signed by it; and another client's that is not.
    private func makeCertificates(_ folder: TemporaryFolder) throws {
        try Shell.check(
            """
            cd "$1"; mkdir tls client stranger
            authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$2" -keyout "$1/ca-key.pem" \
              -out "$1/ca-cert.pem" 2>/dev/null; }
            sign() { openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -addext "subjectAltName=DNS:localhost" \
              -keyout "$2-key.pem" -out "$2.csr" 2>/dev/null
              openssl x509 -req -in "$2.csr" -CA "$1/ca-cert.pem" -CAkey "$1/ca-key.pem" -CAcreateserial -days 2 \
              -copy_extensions copy -out "$2-cert.pem" 2>/dev/null; }
            authority tls authority
            sign tls tls/server
            sign tls client/client
            cp tls/ca-cert.pem client/
            authority stranger other
            sign stranger stranger/client
            cp tls/ca-cert.pem stranger/ca-cert.pem
            """, folder.path)
    }

    @Test func `speaks TLS with certificates of both sides`() throws {
        let (folder, disk) = try makeDisk()
        try makeCertificates(folder)
        let server = try NBDExports(
            [disk], options: ["--tls-certificates", folder.file("tls"), "--tls-verify-peer", "--nbd", "tcp:0.0.0.0:0"])
        try NBDPython.check(
            """
            import nbd, sys
            path, folder, disk = sys.argv[1:]
            def connect(certificates):
                h = nbd.NBD()
                if certificates:
                    h.set_tls(nbd.TLS_REQUIRE); h.set_tls_certificates(folder + "/" + certificates)
                    h.set_uri_allow_local_file(True)
                h.connect_unix(path)
                return h
            h = connect("client")
            data = open(disk, "rb").read()
            assert h.get_tls_negotiated() and h.pread(len(data), 0) == data
            h.shutdown()
            for who in [None, "stranger"]:
                try:
                    h = connect(who); h.pread(1, 0)
                except nbd.Error: pass
                else: assert False, who
            """, server.socket, folder.path, disk)
        #expect(server.isRunning)
    }

    @Test(.enabled(if: Tool.areThere("psktool")))
    func `speaks TLS with preshared keys`() throws {
        let (folder, disk) = try makeDisk()
        try Shell.check(
            "cd \"$1\"; psktool -u alice -p keys >/dev/null 2>&1; psktool -u mallory -p other >/dev/null 2>&1",
            folder.path)
        let server = try NBDExports([disk], options: ["--tls-psk", folder.file("keys"), "--tls", "allow"])
        try NBDPython.check(
            """
            import nbd, sys
            path, folder, disk = sys.argv[1:]
            def connect(user, keys):
                h = nbd.NBD(); h.set_tls(nbd.TLS_REQUIRE)
                h.set_tls_username(user); h.set_tls_psk_file(folder + "/" + keys)
                h.connect_unix(path)
                return h
            h = connect("alice", "keys")
            data = open(disk, "rb").read()
            assert h.get_tls_negotiated() and h.pread(len(data), 0) == data
            h.shutdown()
            try: connect("mallory", "other")
            except nbd.Error: pass
            else: assert False
            h = nbd.NBD(); h.connect_unix(path); h.pread(1, 0)
            """, server.socket, folder.path, disk)
        #expect(server.isRunning)
    }
}
