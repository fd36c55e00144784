import Foundation
import HostTools
import TestImages
import Testing

@Suite(.serialized, .enabled(if: NBDPython.isThere && Tool.areThere("nbdcopy")))
struct `Hostile NBD clients` {
    /// A raw disk that is served, and a client written in Python that has read it when all is over.
    private static func attack(
        _ script: String, seed: UInt64 = 0, megabytes: Int = 4, then: (ImageServer, _ disk: String) throws -> Void
    ) throws {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk.raw")
        try Shell.check("head -c \"$2\" /dev/urandom >\"$1\"", disk, "\(megabytes << 20)")
        let server = try ImageServer([disk])
        let words = [NBDPython.rawClient + script, server.socket, disk, "\(server.process)", "\(seed)"]
        let result = try Tool.run(NBDPython.interpreter, ["-c"] + words, timeout: 300)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(server.isRunning, "\(server.errors)")
        try then(server, disk)
        withExtendedLifetime(folder) {}
    }

    /// Every byte of the export is read by an ordinary client.
    private static func expectServed(_ server: ImageServer, _ disk: String) throws {
        try Shell.check("nbdcopy \"$1\" - | cmp - \"$2\"", server.uri(), disk)
    }

    @Test(arguments: [UInt64.random(in: 0...UInt64.max)])
    func `that send random bytes, in whatever state, end their own connection at most`(seed: UInt64) throws {
        try Self.attack(
            """
            import random
            path, disk, seed = sys.argv[1], open(sys.argv[2], "rb").read(), int(sys.argv[4])
            random = random.Random(seed)
            name = b"disk.raw"; named = struct.pack(">I", len(name)) + name
            def served(c):
                at = random.randrange(len(disk) - 4096)
                c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, at, 4096))
                assert struct.unpack(">IIQ", c.take(16)) == (0x67446698, 0, 7) and c.take(4096) == disk[at:at + 4096], at
            def enter():
                c = Client(path); c.go(); return c
            def number():
                return random.choice([0, 1, 2, 7, 16, 4096, 65536, 65537, 1 << 20, (1 << 31) - 1, 1 << 31,
                                      (1 << 32) - 1, random.getrandbits(32)])
            def wide():
                return random.choice([0, number(), len(disk) - 1, len(disk), (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
                                      random.getrandbits(64)])
            def noise(): return random.randbytes(random.randrange(1, 300))
            # What is half right gets further than noise.
            def option():
                data = random.choice([b"", noise(), struct.pack(">I", number()) + noise(),
                                      named + struct.pack(">I", number()) + noise(),
                                      named + struct.pack(">H", number() & 65535) + noise()])
                size = random.choice([len(data), len(data), number()])
                return b"IHAVEOPT" + struct.pack(">II", random.randrange(13), size) + data
            def request():
                flags = random.choice([0, number() & 65535])
                return struct.pack(">IHHQQI", 0x25609513, flags, random.randrange(10), 1, wide(), number())
            def extendedRequest():
                flags = random.choice([0, number() & 65535])
                return struct.pack(">IHHQQQ", 0x21e41c71, flags, random.randrange(10), 1, wide(), wide())
            def some(make): return lambda: b"".join(make() for _ in range(random.randrange(1, 12)))
            def simple(c): c.go()
            def choice(form):
                def choose(c): c.option(form); c.contexts(name, [b"base:allocation"])
                return choose
            def entered(form):
                def prepare(c): choice(form)(c); c.go()
                return prepare
            states = [(None, noise), (lambda c: None, noise), (lambda c: None, some(option)),
                      (choice(8), some(option)), (choice(11), some(option)), (simple, some(request)),
                      (entered(8), noise), (entered(8), some(request)), (entered(11), some(extendedRequest))]
            early = enter()
            for turn in range(40):
                for prepare, make in states:
                    c = Client(path, 3 if prepare else random.choice([0, 1, 2, 3, random.getrandbits(32)]))
                    try:
                        if prepare: prepare(c)
                        c.s.sendall(make())
                        if random.randrange(2): c.s.shutdown(socket.SHUT_WR)
                        # The server need not say anything.
                        c.s.settimeout(random.choice([0.001, 0.02]))
                        while c.s.recv(1 << 16): pass
                    except (OSError, EOFError): pass
                    c.s.close()
                if turn % 10 == 0: served(early); served(enter())
            served(early)
            """, seed: seed, then: Self.expectServed)
    }

    @Test func `that go away after any byte leave the others served`() throws {
        try Self.attack(
            """
            name = b"disk.raw"; named = struct.pack(">I", len(name)) + name
            def option(number, data=b""): return b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data
            def request(kind, cookie, offset, size): return struct.pack(">IHHQQI", 0x25609513, 0, kind, cookie, offset, size)
            session = (struct.pack(">I", 3) + option(8) + option(3)
                + option(10, named + struct.pack(">II", 1, 15) + b"base:allocation")
                + option(6, named + struct.pack(">HH", 1, 3)) + option(7, named + struct.pack(">H", 0))
                + request(0, 1, 4096, 300000) + request(7, 2, 0, 1 << 20) + request(1, 3, 0, 64) + bytes(64)
                + request(0, 4, 0, 4096) + request(2, 5, 0, 0))
            def play(count, reads):
                s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(60)
                answer = b""
                try:
                    s.sendall(session[:count])
                    if reads:
                        # The whole session ends by itself.
                        if count < len(session): s.shutdown(socket.SHUT_WR)
                        while more := s.recv(1 << 20): answer += more
                except ConnectionError: pass
                s.close()
                return answer
            whole = play(len(session), True)
            assert len(whole) > 304096
            for count in range(len(session)):
                play(count, False)
                # Answers are in any order, but each is whole: there are never more than of the whole session.
                assert len(play(count, True)) <= len(whole), count
            """, then: Self.expectServed)
    }

    @Test func `that never end the handshake keep no other client out, and have to go`() throws {
        try Self.attack(
            """
            import threading, time
            path = sys.argv[1]
            def reads(c):
                c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 512))
                assert struct.unpack(">IIQ", c.take(16)) == (0x67446698, 0, 1) and len(c.take(512)) == 512
            def enter():
                c = Client(path); c.go(); reads(c); return c
            early = enter()
            idle = []
            for _ in range(200):
                s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(60); idle.append(s)
            enter(); reads(early)
            # These say something again and again, and get nowhere.
            slow = [Client(path) for _ in range(3)]
            def dribble(c):
                try:
                    for byte in b"IHAVEOPT" + struct.pack(">II", 1, 60000) + bytes(60000):
                        c.s.sendall(bytes([byte])); time.sleep(0.05)
                except OSError: c.isOver = True
            threads = [threading.Thread(target=dribble, args=(c,), daemon=True) for c in slow]
            for t in threads: t.start()
            for s in idle:
                try:
                    while s.recv(64): pass
                except ConnectionError: pass
            for t in threads: t.join(60)
            assert all(hasattr(c, "isOver") for c in slow)
            reads(early)
            """, then: Self.expectServed)
    }

    @Test func `that take every place leave those that have one, and the next comes when one goes`() throws {
        try Self.attack(
            """
            import time
            def enter():
                c = Client(sys.argv[1]); c.go(); return c
            def isEntered():
                try: enter().s.close(); return True
                except (EOFError, OSError): return False
            clients = [enter() for _ in range(100)]
            assert not isEntered()
            for c in clients:
                c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 512)); c.take(16 + 512)
            clients.pop().s.close()
            end = time.time() + 60
            while not isEntered(): assert time.time() < end
            """, then: Self.expectServed)
    }

    @Test func `that say lengths beyond all bounds are refused, and cost no memory`() throws {
        try Self.attack(
            """
            name = b"disk.raw"; named = struct.pack(">I", len(name)) + name; most = 0xffffffff
            invalid, tooBig = 0x80000003, 0x80000009
            # As many bytes as are said do come.
            c = Client(sys.argv[1])
            for number in [3, 5, 6, 7, 8, 10, 99]:
                assert [k for k, _ in c.option(number, bytes(5 << 20))] == [tooBig], number
            for number, data in [
                (6, struct.pack(">I", most)), (7, struct.pack(">I", most) + name), (7, named + b"\\xff\\xff"),
                (7, struct.pack(">I", 60000) + bytes(60000) + bytes(2)), (7, named[:-1]), (7, b""), (7, named + b"\\0"),
                (7, struct.pack(">I", 1) + b"\\xff" + bytes(2)), (3, b"x"), (8, b"x"),
            ]:
                assert [k for k, _ in c.option(number, data)] == [invalid], (number, data[:20])
            c.option(8)
            for data in [named + struct.pack(">I", most), named + struct.pack(">II", 1, most), struct.pack(">I", most),
                         named + struct.pack(">I", 2) + named]:
                assert [k for k, _ in c.option(10, data)] == [invalid], data
            # 4 GiB are said, and do not come.
            halves = []
            for number in [1, 7, 10, 99]:
                h = Client(sys.argv[1]); h.s.sendall(b"IHAVEOPT" + struct.pack(">II", number, most) + bytes(1 << 20))
                halves.append(h)
            c.contexts(name, [b"base:allocation"])
            c.go()
            def ask(kind, offset, size, payload=b"", cookie=9):
                c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, cookie, offset, size) + payload)
                magic, flags, kind, back, count = struct.unpack(">IHHQI", c.take(20))
                assert magic == 0x668e33ef and back == cookie
                data = c.take(count)
                return struct.unpack(">I", data[:4])[0] if kind >> 15 else kind
            EPERM, EINVAL, EOVERFLOW = 1, 22, 75
            size = 4 << 20
            for kind, offset, count, answer in [
                (0, 0, most, EINVAL), (0, size, 1, EINVAL), (0, size - 1, 2, EINVAL), (0, (1 << 64) - 1, 2, EINVAL),
                (0, 1 << 63, most, EINVAL), (7, (1 << 64) - 1, most, EINVAL), (5, (1 << 64) - 1, 1, EINVAL),
                (7, 0, 0, EINVAL), (4, 0, most, EPERM), (6, 0, most, EPERM), (65535, 0, most, EINVAL), (8, 0, 0, EINVAL),
                (0, 0, 0, 0), (0, size, 0, 0), (3, 0, 0, 0),
            ]:
                assert ask(kind, offset, count) == answer, (kind, offset, count)
            assert ask(1, 0, 32 << 20, bytes(32 << 20)) == EPERM
            # A payload of 4 GiB is the end.
            c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 1, 0, most))
            try: assert c.s.recv(1) == b""
            except ConnectionError: pass
            """,
            then: { server, disk in
                try Self.expectServed(server, disk)
                #expect(try server.mostMemory() < 200 << 20)
            })
    }

    @Test func `that ask for a file which is cut short then lose their connection, and the others get errors`() throws {
        try Self.attack(
            """
            import os
            path, disk = sys.argv[1:3]
            c = Client(path); c.option(8); c.go()
            other = Client(path); other.option(8); other.go()
            # More than sockets keep, so that some is yet to be sent.
            c.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 32 << 20))
            c.take(1)
            os.truncate(disk, 4096)
            try:
                while c.s.recv(1 << 20): pass
            except ConnectionError: pass
            other.s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 1 << 20, 512))
            magic, flags, kind, cookie, size = struct.unpack(">IHHQI", other.take(20))
            assert kind >> 15 and flags & 1, kind
            """, megabytes: 48, then: { server, _ in #expect(server.isRunning) })
    }
}
