import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("qemu-img", "bash")))
struct `The memory of answers over NBD` {
    @Test func `is there for reads of one piece, whoever takes no answers`() throws {
        let folder = try TemporaryFolder()
        // Compressed, so that no answer is sent from the file.
        try Shell.check(
            """
            cd "$1"; seq 1 9000000 | head -c 32M >disk; qemu-img convert -c -f raw -O qcow2 disk disk.qcow2; rm disk
            """, folder.path)
        let server = try ImageServer([folder.file("disk.qcow2")])
        try NBDPython.check(
            NBDPython.rawClient + """
                import time
                def enter():
                    c = Client(sys.argv[1]); c.option(8); c.go(); return c
                def ask(c, offset): c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 4, 0, 1, offset, 2 << 20))
                def answer(c):
                    magic, flags, kind, cookie, size = struct.unpack(">IHHQI", c.take(20))
                    assert (magic, kind, size) == (0x668e33ef, 1, (2 << 20) + 8), (kind, size); c.take(size)
                bad = [enter() for _ in range(20)]
                for c in bad:
                    for i in range(12): ask(c, i << 21)
                time.sleep(2)
                good = enter()
                begin = time.time()
                for i in range(8): ask(good, i << 21); answer(good)
                for i in range(8): ask(good, i << 21)
                for i in range(8): answer(good)
                assert time.time() - begin < 30
                # Those that take nothing while others wait are closed.
                def isClosed(c):
                    c.s.settimeout(0.2)
                    try:
                        while c.s.recv(1 << 20): pass
                    except socket.timeout: return False
                    except ConnectionError: pass
                    return True
                time.sleep(16)
                assert any([isClosed(c) for c in bad])
                ask(good, 0); answer(good)
                """, server.socket)
        withExtendedLifetime(folder) {}
    }
}
