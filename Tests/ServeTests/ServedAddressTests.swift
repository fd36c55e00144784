import Foundation
import HostTools
import TestImages
import Testing

/// What `rblock serve` says of where it listens, pasted behind nbdinfo and `rblock rpc`.
@Suite(.enabled(if: Tool.areThere("nbdinfo", "openssl", "psktool", "bash")))
struct `The addresses that a server says` {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try CleanUp.register("kill $(cat \"$1\") 2>/dev/null", folder.file("pid"))
    }

    /// Serves in the folder; has a shell run nbdinfo with each address that it says to people, and with those in JSON;
    /// answers the sizes of both.
    private func sizes(_ options: [String], _ images: [String]) throws -> (people: [Int], json: [Int], said: String) {
        let script = """
            cd "$1"; rblock=$2; shift 2; rm -f said uris
            "$rblock" serve "$@" 2>said & echo $! >pid
            until grep -q NBD said; do sleep 0.05; done
            eval "set -- $(sed -n 's/^rblock: NBD at //p' said | sed 's/ (and at .*//; s/ and / /g' | tr '\\n' ' ')"
            for uri; do nbdinfo --size "$uri"; done
            kill $(cat pid); wait $(cat pid)
            """
        let people = try Shell.check(script, arguments: [folder.path, Tool.rblock] + options + images)
        let jsonScript = """
            cd "$1"; rblock=$2; shift 2
            "$rblock" serve --output json "$@" >said & echo $! >pid
            until python3 -c 'import json; json.load(open("said"))' 2>/dev/null; do sleep 0.05; done
            python3 -c 'import json; [print(u) for e in json.load(open("said"))["exports"] for u in e["uris"]]' >uris
            while read -r uri; do nbdinfo --size "$uri"; done <uris
            kill $(cat pid); wait $(cat pid)
            """
        let said = try String(contentsOfFile: folder.file("said"), encoding: .utf8)
        let json = try Shell.check(jsonScript, arguments: [folder.path, Tool.rblock] + options + images)
        func numbers(_ text: String) -> [Int] { text.split(separator: "\n").compactMap { Int($0) } }
        return (numbers(people), numbers(json), said)
    }

    @Test func `are those of exports of any name, at sockets of any path`() throws {
        let names = ["a b", "a@b", "a%41", "a?#&=+", "é", "it's \"x\"", "a;$(true)", "n\\xff"]
        _ = try Shell.check(
            """
            cd "$1"; size=0; shift
            for name; do size=$((size + 4096)); truncate -s $size "$(printf '%b' "$name").raw"; done
            """, arguments: [folder.path] + names)
        let images = try Shell.check("cd \"$1\" && ls -1 --zero -Sr *.raw", folder.path).split(separator: "\0").count
        #expect(images == names.count)
        // The name that is not UTF-8 cannot be an argument of a Swift string: the shell passes them all.
        let found = try Shell.check(
            """
            cd "$1"; "$2" serve --nbd "unix:s %?&é'.sock" --nbd tcp:127.0.0.1:0 *.raw 2>said & server=$!
            "$2" serve --output json --nbd 'unix:j #+=.sock' *.raw >json & other=$!
            until test "$(grep -c NBD said)" = 16 -a -s json; do sleep 0.05; done
            eval "set -- $(sed -n 's/^rblock: NBD at //p' said | tr '\\n' ' ')"
            for uri; do nbdinfo --size "$uri"; done | sort -n | uniq -c | sed 's/  *//'
            python3 -c 'import json; [print(u) for e in json.load(open("json"))["exports"] for u in e["uris"]]' >uris
            while read -r uri; do nbdinfo --size "$uri"; done <uris | sort -n | uniq -c | sed 's/  *//'
            kill $server $other; wait
            """, folder.path, Tool.rblock)
        let sizes = (1...names.count).map { $0 * 4096 }
        #expect(found == (sizes.map { "2 \($0)\n" } + sizes.map { "1 \($0)\n" }).joined().dropLast(), "\(found)")
    }

    @Test(arguments: ["tcp:0.0.0.0:0", "tcp:[::]:0", "tcp:[::1]:0", "tcp:localhost:0"])
    func `can be connected to, also where the server listens at all addresses`(address: String) throws {
        try Shell.check("truncate -s 8192 \"$1/disk.raw\"", folder.path)
        guard try !address.contains("::") || hasIPv6() else { return }
        let (people, json, said) = try sizes(["--insecure", "--nbd", address], ["disk.raw"])
        #expect(people == [8192] && json == [8192], "\(said)")
        #expect(!said.contains("0.0.0.0") && !said.contains("[::]"), "\(said)")
        #expect(
            said.contains("all addresses of this host") == (address.contains("0.0.0.0") || address.contains("[::]")))
    }

    private func hasIPv6() throws -> Bool {
        try Shell.run("python3 -c 'import socket; socket.socket(socket.AF_INET6).bind((\"::1\", 0))'").status == 0
    }

    @Test func `have what clients need for TLS`() throws {
        try Shell.check(
            """
            cd "$1"; truncate -s 8192 disk.raw; mkdir 't l&s'; cd 't l&s'
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca-key.pem -out ca-cert.pem 2>/dev/null
            for who in server client; do
              openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -addext subjectAltName=DNS:localhost \\
                -keyout $who-key.pem -out $who.csr 2>/dev/null
              openssl x509 -req -in $who.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -days 2 \\
                -copy_extensions copy -out $who-cert.pem 2>/dev/null
            done
            psktool -u 'a:l@i ce/?' -p ../keys.psk >/dev/null 2>&1
            """, folder.path)
        let places = ["--nbd", "tcp:127.0.0.1:0", "--nbd", "unix:x y.sock"]
        for (options, count) in [
            (["--tls-certificates", "t l&s"], 2), (["--tls-certificates", "t l&s", "--tls-verify-peer"], 2),
            (["--tls-certificates", "t l&s", "--tls", "allow"], 4), (["--tls-psk", "keys.psk"], 2),
        ] {
            let (people, json, said) = try sizes(places + options, ["disk.raw"])
            #expect(people == Array(repeating: 8192, count: count), "\(said)")
            #expect(json == people, "\(said)")
        }
    }

    @Test func `of folders say how to list what is there, and those of JSON-RPC are for its client`() throws {
        let listed = try Shell.check(
            """
            cd "$1"; mkdir images; truncate -s 4096 'images/a b.raw' images/c.raw
            "$2" serve --nbd 'unix:n n.sock' --rpc "unix:r 'r.sock" --rpc tcp:0.0.0.0:0 --insecure images 2>said & echo $! >pid
            until test "$(grep -c JSON-RPC said)" = 2; do sleep 0.05; done
            eval "$(sed -n 's/^rblock: NBD: \\(nbdinfo --list .*\\) lists the exports/\\1/p' said)" | grep -c '^export='
            eval "set -- $2 $(sed -n 's/^rblock: JSON-RPC at //p' said | sed 's/ (and at .*//' | tr '\\n' ' ')"; rblock=$1; shift
            for address; do "$rblock" rpc --output json "$address" list | grep -c 'c.raw'; done
            kill $(cat pid); wait $(cat pid)
            """, folder.path, Tool.rblock)
        #expect(listed == "2\n1\n1")
    }

    @Test func `have none for a socket without a file`() throws {
        try Shell.check("truncate -s 4096 \"$1/disk.raw\"", folder.path)
        let said = try NBDPython.check(
            """
            import os, socket, signal, sys
            folder, rblock = sys.argv[1:]
            name = "\\0rblock-test-%d" % os.getpid()
            passed = socket.socket(socket.AF_UNIX); passed.bind(name); passed.listen()
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.dup2(write, 1); os.dup2(passed.fileno(), 3); os.set_inheritable(3, True)
                os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
                os.execv(rblock, [rblock, "serve", "--output", "json", folder + "/disk.raw"])
            os.close(write)
            print(os.fdopen(read).readline())
            client = socket.socket(socket.AF_UNIX); client.connect(name)
            assert client.recv(18, socket.MSG_WAITALL) == b"NBDMAGICIHAVEOPT\\0\\3"
            os.kill(pid, signal.SIGTERM); assert os.waitpid(pid, 0)[1] == 0
            """, folder.path, Tool.rblock)
        let document = try JSONValue(parsing: Data(said.utf8))
        #expect(document["nbd"]?.array?.first?.text?.hasPrefix("unix:@rblock-test-") == true, "\(said)")
        #expect(document["nbd-uris"]?.array == [])
    }
}
