import BlockImage
import Foundation
import HostTools
import Sockets
import TestImages
import Testing

struct `Where servers listen` {
    @Test(arguments: [
        ("tcp:127.0.0.1:10809", ListenAddress.tcp(host: "127.0.0.1", port: 10809)),
        ("tcp:localhost:0", .tcp(host: "localhost", port: 0)), ("tcp:[::1]:1", .tcp(host: "::1", port: 1)),
        ("unix:/run/a:b", .unix(path: "/run/a:b")), ("unix:relative", .unix(path: "relative")),
    ])
    func `is written and read in one way`(text: String, address: ListenAddress) {
        #expect(ListenAddress(text) == address)
        #expect(address.description == text)
    }

    @Test(arguments: [
        "", "tcp", "tcp:", "tcp:1", "tcp::10809", "tcp:h:", "tcp:h:65536", "tcp:h:-1", "tcp:::1:10809", "unix:",
        "udp:h:1",
        "/run/socket",
    ])
    func `is not guessed`(text: String) {
        #expect(ListenAddress(text) == nil)
    }

    @Test func `is a free port where any will do, and of this host alone where it is the loopback's`() throws {
        let socket = try ListeningSocket(.tcp(host: "127.0.0.1", port: 0))
        guard case .tcp("127.0.0.1", let port) = socket.address else {
            Issue.record("\(socket.address)")
            return
        }
        #expect(port > 0)
        #expect(socket.isLocal)
        #expect(try !ListeningSocket(.tcp(host: "0.0.0.0", port: 0)).isLocal)
    }

    @Test func `is a socket that only its owner may use, and that is removed in the end`() throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/socket"
        var socket: ListeningSocket? = try ListeningSocket(.unix(path: path))
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
        #expect(socket?.isLocal == true)
        socket = nil
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func `is taken over from a server that is gone, and from no other`() throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/socket"
        let first = try ListeningSocket(.unix(path: path))
        let descriptor = try #require(first.takeDescriptor())
        #expect(listen(descriptor, 1) == 0)
        #expect(throws: ImageError.self) { try ListeningSocket(.unix(path: path)) }
        close(descriptor)
        let second = try ListeningSocket(.unix(path: path))
        // The file is the second's by now.
        first.remove()
        #expect(FileManager.default.fileExists(atPath: path))
        _ = second
    }

    @Test func `is never a file that is no socket`() throws {
        let folder = try TemporaryFolder()
        let path = "\(folder.path)/file"
        try Data("kept".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: ImageError.self) { try ListeningSocket(.unix(path: path)) }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "kept")
    }
}
