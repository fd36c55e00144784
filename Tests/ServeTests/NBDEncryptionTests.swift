import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("nbdcopy", "nbdinfo", "openssl", "qemu-img")))
struct `TLS of an NBD server` {
    /// A certificate authority, and a server's and a client's certificate signed by it; and another client's that is not.
    private static func makeCertificates(in folder: TemporaryFolder) throws {
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

    private static func makeDisk() throws -> (folder: TemporaryFolder, disk: String) {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk.raw")
        try Pattern.writeDisk(disk, size: 3 << 20, seed: 4)
        return (folder, disk)
    }

    private static func serve(_ mode: String) throws -> (folder: TemporaryFolder, disk: String, server: ImageServer) {
        let (folder, disk) = try makeDisk()
        try makeCertificates(in: folder)
        let options = mode == "off" ? [] : ["--tls", mode, "--tls-certificates", folder.file("tls")]
        return (folder, disk, try ImageServer([disk], options: options))
    }

    @Test(arguments: ["off", "allow", "require"])
    func `is for those clients that want it, and for all where it is required`(mode: String) throws {
        let (folder, disk, server) = try Self.serve(mode)
        let encrypted =
            "nbds+unix:///?socket=\(server.socket)&tls-certificates=\(folder.file("client"))"
        for (uri, isServed) in [(server.uri(), mode != "require"), (encrypted, mode != "off")] {
            #expect(try Tool.run("nbdinfo", ["--size", uri]).status == (isServed ? 0 : 1), "\(mode), \(uri)")
            let copied = try Shell.run("set -o pipefail; nbdcopy --connections=4 \"$1\" - | cmp - \"$2\"", uri, disk)
            #expect((copied.status == 0) == isServed, "\(mode), \(uri): \(copied.errors)")
        }
        let compared = try Tool.run(
            "qemu-img",
            [
                "compare", "--object", "tls-creds-x509,id=t,dir=\(folder.file("client")),endpoint=client",
                "--image-opts",
                "driver=nbd,path=\(server.socket),tls-creds=t,tls-hostname=localhost",
                "driver=raw,file.driver=file,file.filename=\(disk)",
            ])
        #expect((compared.status == 0) == (mode != "off"), "\(mode): \(compared.errors)")
        #expect(server.isRunning)
    }

    /// What a client says over TLS, without caring who the server is.
    private static let client =
        NBDPython.rawClient + """
            import ssl
            name = b"disk.raw"; named = struct.pack(">I", len(name)) + name
            def secure(c):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
                c.s = context.wrap_socket(c.s)

            """

    @Test func `that is required tells nothing before it`() throws {
        let (folder, _, server) = try Self.serve("require")
        try NBDPython.check(
            Self.client + """
                c = Client(sys.argv[1])
                for number, data in [(3, b""), (6, named + bytes(2)), (7, named + bytes(2)), (7, b"none"), (8, b""),
                                     (9, named + bytes(4)), (10, named + bytes(4)), (11, b""), (4, b""), (99, b"x")]:
                    assert [k for k, _ in c.option(number, data)] == [0x80000005], number
                assert [k for k, _ in c.option(2)] == [1] and c.s.recv(1) == b""
                c = Client(sys.argv[1])
                c.s.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(name)) + name)
                assert c.s.recv(1) == b""
                c = Client(sys.argv[1]); c.option(5); secure(c)
                assert c.go(name)[0] == 3 << 20
                """, server.socket)
        withExtendedLifetime(folder) {}
    }

    @Test func `begins anew, and takes nothing that was said before it`() throws {
        let (folder, _, server) = try Self.serve("allow")
        try NBDPython.check(
            Self.client + """
                c = Client(sys.argv[1]); c.option(8); c.contexts(name, [b"base:allocation"])
                assert [k for k, _ in c.option(5)] == [1]
                secure(c)
                assert [k for k, _ in c.option(5)] == [0x80000003]
                c.go(name)
                c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 512))
                assert struct.unpack(">IIQ", c.take(16)) == (0x67446698, 0, 1) and len(c.take(512)) == 512
                # Between the client and the server an option is added, which must not be answered inside the tunnel.
                for later in [False, True]:
                    c = Client(sys.argv[1])
                    words = [b"IHAVEOPT" + struct.pack(">II", 5, 0), b"IHAVEOPT" + struct.pack(">II", 3, 0)]
                    answer = b""
                    try:
                        if later:
                            c.s.sendall(words[0]); answer = c.take(20); c.s.sendall(words[1])
                        else:
                            c.s.sendall(b"".join(words))
                        while more := c.s.recv(4096): answer += more
                    except ConnectionError: pass
                    assert b"disk.raw" not in answer and answer[20:21] in (b"", b"\\x15"), answer
                """, server.socket)
        #expect(server.isRunning)
        withExtendedLifetime(folder) {}
    }

    @Test func `knows clients by their certificates`() throws {
        let (folder, disk) = try Self.makeDisk()
        try Self.makeCertificates(in: folder)
        let server = try ImageServer(
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
    func `knows clients by preshared keys`() throws {
        let (folder, disk) = try Self.makeDisk()
        try Shell.check(
            "cd \"$1\"; psktool -u alice -p keys >/dev/null 2>&1; psktool -u mallory -p other >/dev/null 2>&1",
            folder.path)
        let server = try ImageServer([disk], options: ["--tls-psk", folder.file("keys"), "--tls", "allow"])
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
