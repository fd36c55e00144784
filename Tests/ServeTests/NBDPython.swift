import HostTools
import TestImages

/// Clients that are written in Python: with libnbd (`nbd`), or with nothing but sockets.
enum NBDPython {
    /// Debian's own, which has libnbd.
    static let interpreter = "/usr/bin/python3"

    /// Whether libnbd is there.
    static let isThere: Bool = {
        guard Tool.areThere(interpreter) else { return false }
        return (try? Tool.run(interpreter, ["-c", "import nbd"]))?.status == 0 || Tool.areThere("python3-libnbd")
    }()

    /// Runs `script` with `arguments` as sys.argv[1] and so on; throws with what it said where it fails.
    @discardableResult
    static func check(_ script: String, _ arguments: String...) throws -> String {
        let result = try Tool.run(interpreter, ["-c", script] + arguments)
        guard result.status == 0 else { throw ToolFailure(description: "\(result.text)\(result.errors)") }
        return result.text
    }

    /// A client of the test's own: what is sent and what comes back are the bytes of the protocol.
    static let rawClient = """
        import socket, struct, sys
        class Client:
            def __init__(self, path, flags=3):
                self.s = socket.socket(socket.AF_UNIX); self.s.connect(path); self.s.settimeout(60)
                assert self.take(16) == b"NBDMAGICIHAVEOPT"
                assert struct.unpack(">H", self.take(2))[0] == 3
                self.s.sendall(struct.pack(">I", flags))
            def take(self, count):
                data = b""
                while len(data) < count:
                    more = self.s.recv(count - len(data))
                    if not more: raise EOFError(len(data))
                    data += more
                return data
            def option(self, number, data=b""):
                self.s.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
                replies = []
                while True:
                    magic, option, kind, size = struct.unpack(">QIII", self.take(20))
                    assert magic == 0x3e889045565a9 and option == number, (hex(magic), option)
                    replies.append((kind, self.take(size)))
                    if kind == 1 or kind >> 31: return replies
            def go(self, name=b""):
                replies = self.option(7, struct.pack(">I", len(name)) + name + struct.pack(">H", 0))
                assert replies[-1][0] == 1, replies
                return struct.unpack(">QH", replies[0][1][2:])
            def contexts(self, name, queries):
                data = struct.pack(">I", len(name)) + name + struct.pack(">I", len(queries))
                return self.option(10, data + b"".join(struct.pack(">I", len(q)) + q for q in queries))

        """
}
