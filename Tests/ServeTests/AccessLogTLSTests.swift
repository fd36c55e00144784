import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("nbdinfo", "openssl", "psktool")))
struct `The access log of a server with TLS` {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; truncate -s 8192 disk.raw; mkdir tls stranger empty
            for authority in tls stranger; do
              openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$authority -keyout $authority/ca-key.pem \\
                -out $authority/ca-cert.pem 2>/dev/null
              for who in server client; do
                openssl req -newkey rsa:2048 -nodes -utf8 -subj "/O=A,B/CN=$who é" -addext subjectAltName=DNS:localhost \\
                  -keyout $authority/$who-key.pem -out $authority/$who.csr 2>/dev/null
                openssl x509 -req -in $authority/$who.csr -CA $authority/ca-cert.pem -CAkey $authority/ca-key.pem \\
                  -CAcreateserial -days 2 -copy_extensions copy -out $authority/$who-cert.pem 2>/dev/null
              done
            done
            cp stranger/ca-cert.pem untrusting-ca.pem; cp tls/ca-cert.pem stranger/; cp tls/ca-cert.pem empty/
            mkdir untrusting; mv untrusting-ca.pem untrusting/ca-cert.pem; cp tls/client-* untrusting/
            psktool -u alice -p keys.psk >/dev/null 2>&1
            sed 's/:......../:00000000/' keys.psk >wrong.psk; sed 's/alice/mallory/' keys.psk >unknown.psk
            """, folder.path)
    }

    /// What is logged of clients that connect with these ends of URIs, one after the other: what `keys` have, of `event`s.
    private func logged(_ event: String, _ key: String, _ options: [String], _ clients: [String]) throws -> [String?] {
        let log = folder.file("log")
        try Data().write(to: URL(fileURLWithPath: log))
        let places = ["--nbd", "tcp:127.0.0.1:0", "--access-log", log]
        let server = try ImageServer([folder.file("disk.raw")], options: options + places)
        let tcp = server.addresses["nbd"]?.array?.compactMap(\.text).first { $0.hasPrefix("tcp:") }
        let port = try #require(tcp?.split(separator: ":").last)
        for client in clients {
            let user = client.hasPrefix("tls-psk-file") ? (client.contains("unknown") ? "mallory@" : "alice@") : ""
            // Over a Unix socket nbdinfo takes any certificate.
            let uri = client.isEmpty ? "nbd://localhost:\(port)" : "nbds://\(user)localhost:\(port)/?\(client)"
            _ = try Tool.run("nbdinfo", ["--size", uri])
        }
        server.stop()
        #expect(server.endStatus() == 0)
        let events = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").map {
            try JSONValue(parsing: Data($0.utf8))
        }
        #expect(events.count { $0["event"]?.text == "connect" } == clients.count, "\(events)")
        #expect(events.count { $0["event"]?.text == "disconnect" } == clients.count, "\(events)")
        return events.filter { $0["event"]?.text == event }.map { $0[key]?.text }
    }

    @Test func `names the subject of a certificate, and says why one is refused`() throws {
        let options = ["--tls-certificates", folder.file("tls")]
        let clients = ["tls", "stranger", "empty", "untrusting"].map { "tls-certificates=\(folder.file($0))" }
        let users = try logged("disconnect", "user", options + ["--tls-verify-peer"], [clients[0]])
        #expect(users == ["CN=client é,O=A\\,B"])
        let reasons = try logged("refused", "reason", options + ["--tls-verify-peer"], clients + [""])
        try #require(reasons.count >= 4)
        for (reason, word) in zip(reasons.prefix(2), ["not signed by an authority", "the client has no certificate"]) {
            #expect(reason?.contains(word) == true, "\(reasons)")
        }
        #expect(reasons[2]?.hasPrefix("TLS handshake failed: the client ") == true, "\(reasons)")
        #expect(reasons[3]?.contains("has not begun TLS, which is required") == true, "\(reasons)")
        // Where clients need no certificate they have no name.
        #expect(try logged("tls", "user", options, [clients[0]]) == [nil])
    }

    @Test func `names clients by their keys, and says of wrong ones and of none`() throws {
        let options = ["--tls-psk", folder.file("keys.psk")]
        let clients = ["keys", "wrong", "unknown"].map { "tls-psk-file=\(folder.file($0)).psk" }
        #expect(try logged("export", "user", options, clients) == ["alice"])
        let reasons = try logged("refused", "reason", options, clients)
        #expect(
            reasons == [
                "TLS handshake failed: the key of \"alice\" is another one",
                "TLS handshake failed: no key for \"mallory\"",
            ])
    }

    @Test func `has words for files that are no certificates and keys`() throws {
        let (disk, tls) = (folder.file("disk.raw"), folder.file("tls"))
        for (certificate, key, word) in [
            (disk, "\(tls)/server-key.pem", "as a certificate in PEM"), (folder.file("none"), disk, "No such file"),
            ("\(tls)/server-cert.pem", disk, "as a private key in PEM"),
            ("\(tls)/server-cert.pem", "\(tls)/client-key.pem", "is that of another certificate"),
        ] {
            let result = try RBlock.run(["serve", "--tls-cert", certificate, "--tls-key", key, disk])
            #expect(result.status == 1 && result.errors.contains(word), "\(result.errors)")
            for word in ["NIO", "SSL", "Error", "errno", "("] {
                #expect(!result.errors.contains(word), "\(result.errors)")
            }
        }
    }
}
