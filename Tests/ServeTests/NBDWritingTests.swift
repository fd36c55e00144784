import Foundation
import HostTools
import TestImages
import Testing

/// Other people's clients, on images that they write to.
@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "sfdisk")))
struct `Writing over NBD` {
    private static let originals = Result { try makeOriginals() }

    /// A folder of a test's own: `images` with a disk of 24 MiB in several formats, with two partitions and a snapshot, and
    /// `disk`, the disk.
    static func makeImages() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check("cp -a --reflink=auto \"$1/.\" \"$2\"", try originals.get().path, folder.path)
        return folder
    }

    private static func makeOriginals() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try CleanUp.register("rm -rf \"$1\"", folder.path)
        try Pattern.writeDisk(folder.file("disk"), size: 24 << 20, seed: 9)
        try Shell.check(
            """
            cd "$1"; mkdir -p images/sub
            printf 'label: gpt\\nsize=6M\\nsize=4M\\n' | sfdisk -q --no-reread disk >/dev/null
            cp --sparse=always disk images/a.raw
            qemu-img convert -O qcow2 disk images/b.qcow2
            qemu-img snapshot -c daily images/b.qcow2
            qemu-img bitmap --add images/b.qcow2 marks
            qemu-img convert -c -O qcow2 disk images/sub/c.qcow2
            qemu-img convert -O vmdk -o subformat=streamOptimized disk images/d.vmdk
            qemu-img convert --object secret,id=s,data=abc -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 disk images/e.qcow2
            cd images; sha256sum *.* sub/* >../sums
            """, folder.path)
        return folder
    }

    static func serve(_ folder: TemporaryFolder, _ images: String = "images", options: [String] = []) throws
        -> ImageServer
    {
        try ImageServer([folder.file(images)], options: ["--overlay", folder.file("overlays")] + options)
    }

    /// Ends `server`, and finds that the images are what they were, and the overlays sound and those of `disks`, by the name
    /// of the image: files with what was read last.
    static func judge(_ server: ImageServer, _ folder: TemporaryFolder, disks: [String: String]) throws {
        server.stop()
        #expect(server.endStatus() == 0, "\(server.errors)")
        #expect(
            server.errors.split(separator: "\n").allSatisfy { $0.contains("lists the exports") }, "\(server.errors)")
        try Shell.check("cd \"$1/images\" && sha256sum --quiet -c ../sums", folder.path)
        for (image, disk) in disks {
            let overlay = folder.file("overlays/\(image).overlay.qcow2")
            let check = try QemuImg.check(overlay, format: "qcow2")
            #expect(check.status == 0 && check.object["leaks"] == nil, "\(image): \(check)")
            try Tool.check("qemu-img", "compare", "-f", "qcow2", "-F", "raw", overlay, folder.file(disk))
        }
    }

    @Test func `is for disks as they are now and their partitions; what is read-only says so and refuses`() throws {
        let folder = try Self.makeImages()
        try folder.write(Array("abc".utf8), to: "key")
        let server = try Self.serve(folder, options: ["--secret", "e.qcow2=file:\(folder.file("key"))"])
        let document = try JSONValue(parsing: try Tool.check("nbdinfo", "--list", "--json", server.uri()))
        var readOnly: [String] = []
        for export in document["exports"]?.array ?? [] {
            let name = export["export-name"]?.text ?? ""
            guard export["is_read_only"] == .bool(false) else {
                readOnly.append(name)
                continue
            }
            for flag in ["can_fast_zero", "can_flush", "can_fua", "can_multi_conn", "can_trim", "can_zero"] {
                #expect(export[flag] == .bool(true), "\(name): \(flag)")
            }
            #expect(export["block_size_minimum"]?.number == 1 && export["block_size_maximum"]?.number == 32 << 20)
            // A bitmap would be about the disk as it was.
            #expect(export["contexts"]?.array?.count == 2, "\(name)")
        }
        let encrypted = ["e.qcow2", "e.qcow2/p1", "e.qcow2/p2"]
        #expect(Set(readOnly) == Set(["b.qcow2@daily", "b.qcow2@daily/p1", "b.qcow2@daily/p2"] + encrypted))
        try NBDPython.check(
            """
            import errno, nbd, sys
            h = nbd.NBD(); h.set_strict_mode(0); h.connect_uri(sys.argv[1])
            assert h.is_read_only() and not h.can_flush()
            for call in [lambda: h.pwrite(b"x" * 4096, 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)]:
                try: call()
                except nbd.Error as error: assert error.errnum == errno.EPERM, error
                else: assert False
            h.shutdown()
            """, server.uri("b.qcow2@daily"))
        #expect(!FileManager.default.fileExists(atPath: folder.file("overlays/b.qcow2.overlay.qcow2")))
        try Self.judge(server, folder, disks: [:])
    }

    @Test func `is done as qemu and nbdcopy ask for it, and is there for QEMU and the next server`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        let commands = [
            "write -P 7 1M 3M", "write -f -P 8 50000 100", "write -z 10M 1M", "write -z -u 12M 1M", "discard 20M 2M",
            "writev -P 9 15M 4k 8k", "write -z 15730000 70000", "flush", "write -P 3 22M 1M",
        ]
        for image in ["a.raw", "b.qcow2", "sub/c.qcow2", "d.vmdk"] {
            try QemuImg.io(server.uri(image), format: "raw", commands + ["read -P 8 50000 100", "read -P 0 12M 1M"])
            try Tool.check("nbdcopy", server.uri(image), folder.file("now"))
            try Shell.check("cp --sparse=always \"$1/disk\" \"$1/model\"", folder.path)
            // What a discard leaves is for the server to say; here it is zeros.
            try QemuImg.io(
                folder.file("model"), format: "raw", commands.map { $0.replacing("discard", with: "write -z") })
            try Tool.check("cmp", folder.file("now"), folder.file("model"))
        }
        try QemuImg.run("convert", "-n", "-f", "raw", "-O", "raw", folder.file("disk"), server.uri("sub/c.qcow2"))
        try Shell.check(
            "head -c 4M /dev/urandom >\"$1\"; nbdcopy --flush \"$1\" \"$2\"", folder.file("part"),
            server.uri("a.raw/p2"))
        try Shell.check("dd if=\"$1/part\" of=\"$1/now\" bs=1M seek=7 conv=notrunc status=none", folder.path)
        try Shell.check(
            "cp \"$1/model\" \"$1/all\"; dd if=\"$1/part\" of=\"$1/all\" bs=1M seek=7 conv=notrunc status=none",
            folder.path)
        try Self.judge(
            server, folder, disks: ["a.raw": "all", "b.qcow2": "model", "sub/c.qcow2": "disk", "d.vmdk": "model"])
        let next = try Self.serve(folder)
        try Tool.check("qemu-img", "compare", "-f", "raw", "-F", "raw", next.uri("a.raw"), folder.file("all"))
        try QemuImg.io(next.uri("b.qcow2"), format: "raw", ["write -P 1 0 64k"])
        try QemuImg.io(folder.file("model"), format: "raw", ["write -P 1 0 64k"])
        try Self.judge(next, folder, disks: ["a.raw": "all", "b.qcow2": "model", "sub/c.qcow2": "disk"])
    }

    @Test func `keeps to what the protocol says of flags, ranges and flushes, however replies look`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        try NBDPython.check(
            """
            import errno, nbd, sys
            size = 24 << 20
            def fails(number, call):
                try: call()
                except nbd.Error as error: assert error.errnum == number, error
                else: assert False, number
            model = bytearray(open(sys.argv[2], "rb").read())
            for structured in [True, False]:
                hs = []
                for _ in range(2):
                    h = nbd.NBD(); h.set_request_structured_replies(structured); h.set_strict_mode(0)
                    h.add_meta_context("base:allocation")
                    h.connect_uri(sys.argv[1]); hs.append(h)
                h, other = hs
                # All that a connection was answered another one sees.
                for start, count in [(0, 1), (65535, 3), (1 << 20, 32 << 19), (size - 7, 7), (7 << 20, 6 << 20), (3000, 0)]:
                    data = bytes([start % 251 + structured]) * count
                    h.pwrite(data, start); model[start:start + count] = data
                    assert other.pread(max(count, 1), min(start, size - 1)) == bytes(
                        model[start:start + max(count, 1)]), (start, count)
                h.pwrite(b"now" * 100, 12345, flags=nbd.CMD_FLAG_FUA); model[12345:12645] = b"now" * 100
                other.flush()
                for start, count, flags in [
                    (1 << 20, 1 << 20, 0), (5000, 70000, nbd.CMD_FLAG_NO_HOLE), (131072, 65536, nbd.CMD_FLAG_FAST_ZERO),
                    (9 << 20, 8192, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_FUA | nbd.CMD_FLAG_NO_HOLE),
                ]:
                    h.zero(count, start, flags=flags); model[start:start + count] = bytes(count)
                    assert other.pread(count + 2, start - 1) == bytes(model[start - 1:start + count + 1]), start
                # No mark says zeros of so little: it would have to be written.
                fails(errno.ENOTSUP, lambda: h.zero(100, 200, flags=nbd.CMD_FLAG_FAST_ZERO))
                h.zero(100, 200); model[200:300] = bytes(100)
                h.trim(1 << 20, 16 << 20, flags=nbd.CMD_FLAG_FUA); model[16 << 20:17 << 20] = bytes(1 << 20)
                # What fills no cluster stays.
                h.trim(100, 17 << 20)
                fails(errno.ENOSPC, lambda: h.pwrite(b"xx", size - 1))
                fails(errno.ENOSPC, lambda: h.zero(2, size - 1))
                fails(errno.EINVAL, lambda: h.trim(2, size - 1))
                fails(errno.EINVAL, lambda: h.zero(512, 0, flags=nbd.CMD_FLAG_DF))
                fails(errno.EINVAL, lambda: h.pwrite(b"x", 0, flags=nbd.CMD_FLAG_NO_HOLE))
                assert h.pread(size, 0) == model and other.pread(size, 0) == model
                if structured:
                    told = []
                    h.block_status(1 << 20, 16 << 20, lambda c, at, entries, e: told.append(entries))
                    assert told == [[1 << 20, 3]], told
                for h in hs: h.shutdown()
            open(sys.argv[2] + ".now", "wb").write(model)
            """, server.uri("b.qcow2"), folder.file("disk"))
        try Self.judge(server, folder, disks: ["b.qcow2": "disk.now"])
    }

    @Test func `goes on at random on several connections, and loses nothing`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        let seed = UInt64.random(in: 0...UInt64.max)
        try NBDPython.check(
            """
            import nbd, random, sys, threading
            # Each connection has a part of the disk, whose ends are in the middle of clusters.
            model = bytearray(open(sys.argv[2], "rb").read()); part = len(model) // 4 + 1000
            faults = []
            def work(number):
                try:
                    r = random.Random(int(sys.argv[3]) + number)
                    h = nbd.NBD(); h.connect_uri(sys.argv[1])
                    low, high = number * part, min((number + 1) * part, len(model))
                    for i in range(250):
                        start = r.randrange(low, high); count = min(r.choice([1, 512, 4096, 70000, 3 << 20]), high - start)
                        kind = r.randrange(8)
                        if kind < 4:
                            data = r.randbytes(count)
                            h.pwrite(data, start, flags=nbd.CMD_FLAG_FUA if i % 50 == 0 else 0); model[start:start + count] = data
                        elif kind == 4: h.zero(count, start, flags=r.choice([0, nbd.CMD_FLAG_NO_HOLE])); model[start:start + count] = bytes(count)
                        elif kind == 5 and i % 10 == 0: h.flush()
                        else:
                            assert h.pread(count, start) == bytes(model[start:start + count]), (number, i, start, count)
                    h.shutdown()
                except Exception as fault: faults.append((number, fault))
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            for t in threads: t.start()
            for t in threads: t.join()
            assert not faults, faults
            open(sys.argv[2] + ".now", "wb").write(model)
            """, server.uri("sub/c.qcow2"), folder.file("disk"), "\(seed >> 2)")
        try Self.judge(server, folder, disks: ["sub/c.qcow2": "disk.now"])
    }

    @Test func `has extended headers and payloads, and half a request stalls no one`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        try NBDPython.check(
            NBDPython.rawClient + """
                import time
                def enter(name=b"a.raw"):
                    c = Client(sys.argv[1]); assert c.option(11)[-1][0] == 1; c.go(name); return c
                def send(c, kind, offset, length, flags=0, payload=b""):
                    c.s.sendall(struct.pack(">IHHQQQ", 0x21e41c71, flags, kind, 5, offset, length) + payload)
                def answer(c):
                    magic, flags, kind, back, at, size = struct.unpack(">IHHQQQ", c.take(32))
                    return kind, c.take(size)
                limit = 32 << 20
                c = enter()
                send(c, 1, 100, 5000, 32, b"y" * 5000); assert answer(c) == (0, b"")
                send(c, 0, 99, 5002)
                kind, data = answer(c)
                assert kind == 1 and data[9:-1] == b"y" * 5000
                # All of the disk, and more than there is; then the connection is as good as before.
                send(c, 1, 0, 24 << 20, 32, b"z" * (24 << 20)); assert answer(c)[0] == 0
                send(c, 1, 0, limit, 32, bytes(limit))
                kind, data = answer(c); assert kind == 0x8001 and data[:4] == struct.pack(">I", 28), data
                send(c, 6, 0, 1 << 40); kind, data = answer(c); assert kind == 0x8001 and data[:4] == struct.pack(">I", 28)
                send(c, 6, 0, 24 << 20, 16); assert answer(c) == (0, b"")
                # These say much, and send a part of it.
                stuck = []
                for name in [b"a.raw", b"b.qcow2"] * 20:
                    h = enter(name); send(h, 1, 1 << 20, 16 << 20, 32, b"w" * (700 << 10)); stuck.append(h)
                time.sleep(0.5)
                begin = time.time()
                for i in range(50): send(c, 1, (18 << 20) + i * 8192, 4096, 32, bytes([i]) * 4096); assert answer(c)[0] == 0
                send(c, 1, 19 << 20, 4 << 20, 32, b"v" * (4 << 20)); assert answer(c)[0] == 0
                send(c, 3, 0, 0); assert answer(c)[0] == 0
                assert time.time() - begin < 30
                # One goes without a word, one says that it sends no more, and one sends the rest.
                stuck[0].s.close()
                stuck[2].s.shutdown(socket.SHUT_WR); kind, data = answer(stuck[2]); assert kind == 0x8001
                rest = (16 << 20) - (700 << 10)
                stuck[4].s.sendall(b"w" * rest); assert answer(stuck[4])[0] == 0
                send(c, 0, 1 << 20, 16 << 20)
                got = bytearray()
                while len(got) < 16 << 20:
                    kind, data = answer(c); assert kind == 1; got += data[8:]
                assert bytes(got) == b"w" * (16 << 20)
                """, server.socket)
        #expect(try server.mostMemory() < 300 << 20)
        server.stop()
        #expect(server.endStatus() == 0, "\(server.errors)")
        #expect(try QemuImg.check(folder.file("overlays/a.raw.overlay.qcow2"), format: "qcow2").status == 0)
    }

    @Test func `is sound where the server is killed, and what was flushed or idle for a second is there`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        try QemuImg.io(server.uri("a.raw"), format: "raw", ["write -P 5 1M 1M", "flush"])
        try NBDPython.check(
            """
            import nbd, os, signal, sys, time
            idle = nbd.NBD(); idle.connect_uri(sys.argv[2]); idle.pwrite(b"i" * (1 << 20), 3 << 20)
            time.sleep(2)
            h = nbd.NBD(); h.connect_uri(sys.argv[1]); h.pwrite(b"x", 0)
            for i in range(300): h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x" * 50000)), (i * 70001) % (20 << 20))
            os.kill(int(sys.argv[3]), signal.SIGKILL)
            """, server.uri("b.qcow2"), server.uri("sub/c.qcow2"), "\(server.process)")
        #expect(server.endStatus() == 137)
        for image in ["a.raw", "b.qcow2", "sub/c.qcow2"] {
            let check = try QemuImg.check(folder.file("overlays/\(image).overlay.qcow2"), format: "qcow2")
            // Clusters that are accounted and unused are all that a kill leaves.
            #expect([0, 3].contains(check.status), "\(image): \(check)")
        }
        try QemuImg.io(folder.file("overlays/a.raw.overlay.qcow2"), ["read -P 5 1M 1M"])
        try QemuImg.io(folder.file("overlays/sub/c.qcow2.overlay.qcow2"), ["read -P 105 3M 1M"])
        try Shell.check("cd \"$1/images\" && sha256sum --quiet -c ../sums", folder.path)
        let next = try Self.serve(folder)
        try QemuImg.io(next.uri("a.raw"), format: "raw", ["read -P 5 1M 1M", "write -P 6 1M 1M"])
    }

    @Test func `changes what else is known of the disk: its partitions, and what JSON-RPC reads`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        try Shell.check(
            """
            cd "$1"; cp disk new; printf 'label: gpt\\nsize=6M\\nsize=4M\\nsize=2M\\n' | sfdisk -q --no-reread new >/dev/null
            nbdinfo --size "$3" && exit 9
            nbdcopy new "$2"; [ $(nbdinfo --size "$3") = $((2 << 20)) ]; nbdcopy "$3" - | cmp - <(tail -c +$((11 * 1024 * 1024 + 1)) new | head -c 2M)
            """, folder.path, server.uri("a.raw"), server.uri("a.raw/p3"))
        let list = try Tool.run(Tool.rblock, ["rpc", server.rpcSocket, "list"]).text
        #expect(list.contains("a.raw/p3"), "\(list)")
        try QemuImg.io(server.uri("b.qcow2"), format: "raw", ["write -P 65 4096 512"])
        let options = ["image=b.qcow2", "offset=4096", "length=3"]
        let read = try Tool.run(Tool.rblock, ["rpc", "--raw", server.rpcSocket, "read"] + options).text
        #expect(read == "AAA")
    }

    @Test(.enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "fsfreeze")))
    func `waits for a file system that does not answer, and no other image does`() throws {
        let folder = try Self.makeImages()
        let host = try HostFileSystem("ext4", size: 64 << 20)
        let server = try ImageServer([folder.file("images")], options: ["--overlay", host.file("overlays")])
        try QemuImg.io(server.uri("a.raw"), format: "raw", ["write 0 64k", "flush"])
        try CleanUp.register("fsfreeze -u \"$1\" 2>/dev/null", host.path)
        try Tool.check("fsfreeze", "-f", host.path)
        defer { _ = try? Tool.run("fsfreeze", ["-u", host.path]) }
        try Shell.check(
            """
            qemu-io -f raw -c 'write -P 9 8M 8M' "$1" >/dev/null & gone=$!; for i in 1 2 3; do qemu-io -f raw -c "write -P $i ${i}M 1M" -c flush "$1" >/dev/null & done
            sleep 0.5; kill -9 $gone # amid what it writes
            nbdcopy "$2" - | cmp - "$3"; nbdinfo --size "$2" >/dev/null
            fsfreeze -u "$4"; wait
            """, server.uri("a.raw"), server.uri("d.vmdk"), folder.file("disk"), host.path)
        try QemuImg.io(server.uri("a.raw"), format: "raw", (1...3).map { "read -P \($0) \($0)M 1M" })
        server.stop()
        #expect(server.endStatus() == 0, "\(server.errors)")
    }

    @Test(.enabled(if: Tool.isRoot))
    func `has ENOSPC where the folder of overlays is full, and goes on with what was written`() throws {
        let folder = try Self.makeImages()
        let small = try HostFileSystem("tmpfs", size: 6 << 20)
        let server = try ImageServer(
            [folder.file("images")], options: ["--overlay", "\(small.path)/overlays", "--nbd", "tcp:127.0.0.1:0"])
        try NBDPython.check(
            """
            import errno, nbd, sys
            h = nbd.NBD(); h.connect_uri(sys.argv[1])
            h.pwrite(b"k" * (1 << 20), 0); h.flush()
            try: h.pwrite(b"l" * (12 << 20), 2 << 20)
            except nbd.Error as error: assert error.errnum == errno.ENOSPC, error
            else: assert False
            assert h.pread(1 << 20, 0) == b"k" * (1 << 20)
            h.pwrite(b"m" * 4096, 4096); h.flush(); h.shutdown()
            """, server.uri("a.raw"))
        server.stop()
        #expect(server.endStatus() == 0, "\(server.errors)")
        #expect(server.errors.contains("a.raw") && server.errors.contains("cannot be written to"), "\(server.errors)")
        let overlay = "\(small.path)/overlays/a.raw.overlay.qcow2"
        #expect([0, 3].contains(try QemuImg.check(overlay, format: "qcow2").status))
        try QemuImg.io(overlay, ["read -P 109 4096 4096", "read -P 107 8192 1040384"])
    }

    @Test func `is over TLS the same`() throws {
        let folder = try Self.makeImages()
        try folder.write(Array("alice:\(String(repeating: "5a", count: 32))\n".utf8), to: "keys.psk")
        let server = try Self.serve(folder, options: ["--tls", "require", "--tls-psk", folder.file("keys.psk")])
        let uri = "nbds+unix://alice@/a.raw?socket=\(server.socket)&tls-psk-file=\(folder.file("keys.psk"))"
        try Shell.check(
            "nbdcopy --connections=4 --flush \"$1/disk\" \"$2\"; nbdcopy \"$2\" - | cmp - \"$1/disk\"", folder.path, uri
        )
        try Self.judge(server, folder, disks: ["a.raw": "disk"])
    }

    @Test func `is refused over a disk that was changed, in a folder of images, and by a second server`() throws {
        let folder = try Self.makeImages()
        let server = try Self.serve(folder)
        try QemuImg.io(server.uri("a.raw"), format: "raw", ["write -P 5 1M 1M"])
        let second = try Tool.run(
            Tool.rblock,
            ["serve", "--nbd", "unix:\(folder.file("s"))", "--overlay", folder.file("overlays"), folder.file("images")])
        #expect(second.status == 1 && second.errors.contains("another program has these overlays"), "\(second.errors)")
        server.stop()
        #expect(server.endStatus() == 0)
        let inside = try Tool.run(
            Tool.rblock,
            [
                "serve", "--nbd", "unix:\(folder.file("s"))", "--overlay", folder.file("images/sub"),
                folder.file("images"),
            ])
        #expect(inside.status == 1 && inside.errors.contains("folders apart"), "\(inside.errors)")
        let backed = try Tool.run(
            Tool.rblock,
            ["serve", "--overlay", folder.file("o"), "--backing", folder.file("disk"), folder.file("images/b.qcow2")])
        #expect(backed.status == 64 && backed.errors.contains("--backing"), "\(backed.errors)")
        try Shell.check("printf x | dd of=\"$1\" bs=1 seek=77 conv=notrunc status=none", folder.file("images/a.raw"))
        let next = try Self.serve(folder)
        let refused = try Tool.run("qemu-img", ["info", next.uri("a.raw")])
        #expect(refused.status != 0 && refused.errors.contains("was written to after it was made"), "\(refused.errors)")
        #expect(try Tool.run("nbdinfo", [next.uri("b.qcow2")]).status == 0)
    }
}
