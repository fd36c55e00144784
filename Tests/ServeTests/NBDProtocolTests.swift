import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("qemu-img", "qemu-io")))
struct `NBD requests` {
    /// A sparse image of 40 MiB with data from 1 MiB to 3 MiB, and its disk.
    private static func makeImage() throws -> (folder: TemporaryFolder, image: String, disk: String) {
        let folder = try TemporaryFolder()
        let (image, disk) = (folder.file("disk.qcow2"), folder.file("disk"))
        try Shell.check(
            """
            truncate -s 40M "$2"
            dd if=/dev/urandom of="$2" bs=1M seek=1 count=2 conv=notrunc status=none
            qemu-img convert -O qcow2 "$2" "$1"
            """, image, disk)
        return (folder, image, disk)
    }

    @Test func `of libnbd are answered in pieces, whole, and with errors`() throws {
        let (folder, image, disk) = try Self.makeImage()
        let server = try ImageServer([image])
        try NBDPython.check(
            """
            import errno, nbd, sys
            disk = open(sys.argv[2], "rb").read()
            def fails(number, call):
                try: call()
                except nbd.Error as error: assert error.errnum == number, error
                else: assert False, number
            for structured in [True, False]:
                h = nbd.NBD()
                h.set_request_structured_replies(structured)
                h.add_meta_context("base:allocation")
                h.set_strict_mode(0)
                h.connect_uri(sys.argv[1])
                assert h.get_structured_replies_negotiated() == structured
                assert h.is_read_only() and h.can_multi_conn() and h.can_cache() and h.can_df() == structured
                for start, count in [(0, 1), (1, 511), (1048575, 3), (5, 3 << 20), (0, 32 << 20), (len(disk) - 7, 7)]:
                    assert h.pread(count, start) == disk[start:start + count], (start, count)
                h.cache(1 << 20, 1 << 20)
                h.flush()
                fails(errno.EPERM, lambda: h.pwrite(b"x" * (1 << 20), 0))
                fails(errno.EPERM, lambda: h.trim(512, 0))
                fails(errno.EPERM, lambda: h.zero(512, 0))
                fails(errno.EINVAL, lambda: h.pread(2, len(disk) - 1))
                assert h.pread(16, 1 << 20) == disk[1 << 20:(1 << 20) + 16], "after errors"
                if structured:
                    chunks = []
                    h.pread_structured(4 << 20, 0, lambda data, at, kind, e: chunks.append((at, len(data), kind)))
                    # The pieces of a long answer end at 2 MiB.
                    assert [c[2] for c in sorted(chunks)] == [
                        nbd.READ_HOLE, nbd.READ_DATA, nbd.READ_DATA, nbd.READ_HOLE], chunks
                    chunks = []
                    h.pread_structured(2 << 20, 0, lambda data, at, kind, e: chunks.append((at, len(data), kind)),
                                       flags=nbd.CMD_FLAG_DF)
                    assert chunks == [(0, 2 << 20, nbd.READ_DATA)], chunks
                    fails(errno.EOVERFLOW, lambda: h.pread_structured(
                        3 << 20, 0, lambda *a: 0, flags=nbd.CMD_FLAG_DF))
                    told = []
                    h.block_status(len(disk), 0, lambda c, at, entries, e: told.append((c, at, entries)))
                    assert told == [("base:allocation", 0, [1 << 20, 3, 2 << 20, 0, 37 << 20, 3])], told
                    told = []
                    h.block_status(4096, 512, lambda c, at, entries, e: told.append(entries),
                                   flags=nbd.CMD_FLAG_REQ_ONE)
                    assert told == [[4096, 3]], told
                h.shutdown()
            """, server.uri(), disk)
        withExtendedLifetime(folder) {}
    }

    @Test func `with extended headers have 64 bits of offset and length`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("large.qcow2")
        try QemuImg.create(image, size: 6 << 30)
        try QemuImg.io(image, ["write -P 5 5G 1M"])
        let server = try ImageServer([image])
        try NBDPython.check(
            NBDPython.rawClient + """
                c = Client(sys.argv[1])
                assert c.option(11)[-1][0] == 1
                assert [k for k, _ in c.contexts(b"large.qcow2", [b"base:allocation"])] == [4, 1]
                size, flags = c.go(b"")
                assert size == 6 << 30
                def ask(kind, offset, length, flags=0, cookie=77):
                    c.s.sendall(struct.pack(">IHHQQQ", 0x21e41c71, flags, kind, cookie, offset, length))
                    chunks = []
                    while True:
                        magic, flags, kind, back, at, size = struct.unpack(">IHHQQQ", c.take(32))
                        assert magic == 0x6e8a278c and back == cookie and at == offset, (hex(magic), back, at)
                        chunks.append((kind, c.take(size)))
                        if flags & 1: return chunks
                (kind, data), = ask(7, 0, size)
                assert kind == 6
                id, count = struct.unpack(">II", data[:8])
                runs = [struct.unpack(">QQ", data[8 + 16 * i:24 + 16 * i]) for i in range(count)]
                assert runs == [(5 << 30, 3), (1 << 20, 0), ((1 << 30) - (1 << 20), 3)], runs
                (kind, data), = ask(7, 0, size, flags=8)
                assert data[8:] == struct.pack(">QQ", 5 << 30, 3)
                assert ask(0, 5 << 30, 4096) == [(1, struct.pack(">Q", 5 << 30) + b"\\5" * 4096)]
                assert ask(0, 0, 1 << 20) == [(2, struct.pack(">QI", 0, 1 << 20))]
                assert ask(0, 0, 0) == [(0, b"")]
                (kind, data), = ask(0, size - 1, 2)
                assert kind == 0x8001 and data[:4] == struct.pack(">I", 22)
                (kind, data), = ask(0, 0, 1 << 40)
                assert kind == 0x8001
                (kind, data), = ask(0, 0, 33 << 20)
                assert kind == 0x8001 and data[:4] == struct.pack(">I", 75)
                # A write has the flag of payloads, and its payload is taken away.
                c.s.sendall(struct.pack(">IHHQQQ", 0x21e41c71, 32, 1, 5, 0, 1 << 20) + b"x" * (1 << 20))
                magic, flags, kind, back, at, count = struct.unpack(">IHHQQQ", c.take(32))
                assert kind == 0x8001 and c.take(count)[:4] == struct.pack(">I", 1)
                (kind, data), = ask(99, 0, 1)
                assert kind == 0x8001 and data[:4] == struct.pack(">I", 22)
                assert ask(3, 0, 0) == [(0, b"")]
                c.s.sendall(struct.pack(">IHHQQQ", 0x21e41c71, 0, 2, 0, 0, 0))
                assert c.s.recv(1) == b""
                """, server.socket)
        withExtendedLifetime(folder) {}
    }

    @Test func `of old clients are answered without options`() throws {
        let (folder, image, disk) = try Self.makeImage()
        let server = try ImageServer([image])
        try NBDPython.check(
            NBDPython.rawClient + """
                disk = open(sys.argv[2], "rb").read()
                for flags, padding in [(1, 124), (3, 0)]:
                    c = Client(sys.argv[1], flags)
                    c.s.sendall(b"IHAVEOPT" + struct.pack(">II", 1, 0))
                    assert struct.unpack(">Q", c.take(8))[0] == len(disk)
                    assert c.take(2 + padding)[2:] == bytes(padding)
                    # Several at once, which may be answered in any order, and the end of the connection behind them.
                    places = [(i * 700001, 65536 + i) for i in range(50)]
                    for i, (start, count) in enumerate(places):
                        c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, i, start, count))
                    c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
                    left = set(range(50))
                    while left:
                        magic, error, i = struct.unpack(">IIQ", c.take(16))
                        assert magic == 0x67446698 and error == 0
                        left.remove(i)
                        start, count = places[i]
                        assert c.take(count) == disk[start:start + count], i
                    assert c.s.recv(1) == b""
                """, server.socket, disk)
        withExtendedLifetime(folder) {}
    }

    @Test func `are not taken from clients that take no answers, while others are served`() throws {
        let (folder, image, disk) = try Self.makeImage()
        let server = try ImageServer([image])
        try NBDPython.check(
            NBDPython.rawClient + """
                import threading
                stuck = []
                for _ in range(8):
                    c = Client(sys.argv[1]); c.go(); c.s.settimeout(1); stuck.append(c)
                    # More requests than anybody would keep: the server stops reading them.
                    request = struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 1 << 20, 2 << 20) * 1000
                    try:
                        for _ in range(100): c.s.sendall(request)
                        assert False, "the server takes it all"
                    except socket.timeout: pass
                other = Client(sys.argv[1]); other.go()
                other.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 1 << 20, 4096))
                assert other.take(16 + 4096)[16:] == open(sys.argv[2], "rb").read()[1 << 20:(1 << 20) + 4096]
                """, server.socket, disk)
        #expect(try server.mostMemory() < 600 << 20)
        withExtendedLifetime(folder) {}
    }
}
