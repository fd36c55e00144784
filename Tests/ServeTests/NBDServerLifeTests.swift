import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: NBDPython.isThere && Tool.areThere("nbdcopy")))
struct `An NBD server` {
    private func makeDisk(_ size: Int = 16 << 20) throws -> (folder: TemporaryFolder, disk: String) {
        let folder = try TemporaryFolder()
        let disk = folder.file("disk.raw")
        try Pattern.writeDisk(disk, size: UInt64(size), seed: 3)
        return (folder, disk)
    }

    @Test func `that is to stop answers what it has taken up, and leaves nothing behind`() throws {
        let (folder, disk) = try makeDisk()
        let server = try ImageServer([disk])
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

    @Test func `listens at the addresses it is given, by default for this host alone`() throws {
        let (folder, disk) = try makeDisk(4096)
        let server = try ImageServer([disk], options: ["--nbd", "tcp:127.0.0.1:0"])
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

    @Test(arguments: ["human", "json"])
    func `a signal that comes as soon as the address is said ends the server as any other`(output: String) throws {
        let folder = try TemporaryFolder()
        try Shell.check("truncate -s 4096 \"$1\"", folder.file("disk.raw"))
        let script = """
            import os, signal, subprocess, sys
            folder, rblock, form = sys.argv[1:]
            command = [rblock, 'serve', '--output', form, '--nbd', 'unix:nbd', '--rpc', 'unix:rpc', 'disk.raw']
            for number in range(12):
                server = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE, bufsize=0)
                (server.stdout if form == 'json' else server.stderr).read(1)
                server.send_signal(signal.SIGINT if number % 2 else signal.SIGTERM)
                server.communicate()
                left = [name for name in ('nbd', 'rpc') if os.path.exists(folder + '/' + name)]
                if server.returncode or left: print(number, server.returncode, left)
            """
        let wrong = try Tool.run("python3", ["-c", script, folder.path, Tool.rblock, output])
        #expect(wrong.status == 0 && wrong.text == "", "\(wrong.text)\(wrong.errors)")
    }

    @Test func `a terminal that is closed ends the server as any other signal, but not one that nohup has started`()
        throws
    {
        let folder = try TemporaryFolder()
        try Shell.check("truncate -s 4096 \"$1\"", folder.file("disk.raw"))
        let script = """
            import os, signal, subprocess, sys
            folder, rblock = sys.argv[1:]
            def start(*before):
                server = subprocess.Popen([*before, rblock, 'serve', '--nbd', 'unix:nbd', 'disk.raw'], cwd=folder,
                                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                while b'NBD' not in server.stderr.readline(): pass
                server.send_signal(signal.SIGHUP)
                return server
            server = start()
            server.communicate()
            print(server.returncode, os.path.exists(folder + '/nbd'))
            server = start('nohup')
            try: server.wait(1); print('ended')
            except subprocess.TimeoutExpired: server.send_signal(signal.SIGTERM)
            server.communicate()
            print(server.returncode)
            """
        let said = try Tool.run("python3", ["-c", script, folder.path, Tool.rblock])
        #expect(said.text == "0 False\n0\n", "\(said.text)\(said.errors)")
    }
}
