import Foundation
import HostTools
import TestImages
import Testing

@Suite("As a service", .enabled(if: Tool.canMount("qemu-img", "cmp", "python3", "bash")))
struct ServiceTests {
    /// Runs `script` with the command as $1, images as $2, a mountpoint as $3 and a folder as $4.
    private func run(_ script: String, seed: UInt64, _ more: String = "") throws -> ToolResult {
        let gallery = try Gallery(["plain.qcow2"], seed: seed)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        defer { _ = try? Tool.run("fusermount3", ["-quz", mountpoint]) }
        let prelude = "ended() { ! readlink /proc/$1/exe >/dev/null 2>&1; }\n"
        return try Shell.run(
            prelude + script, Tool.rblockfs, gallery.images, mountpoint, folder.path, more, timeout: 300)
    }

    @Test("The file of --pid-file has the server's number while it serves", arguments: ["", "-f"])
    func pidFile(options: String) throws {
        let result = try run(
            """
            cd "$4"; echo 1 >server.pid
            "$1" $5 --pid-file server.pid "$2" "$3" & for turn in {1..400}; do [ -e "$3/plain.qcow2" ] && break; sleep 0.05; done
            for turn in {1..400}; do server=$(cat server.pid); [ "$server" != 1 ] && break; sleep 0.05; done
            tr '\\0' ' ' </proc/$server/cmdline | grep -q -- "--pid-file server.pid $2 $3" || exit 2
            [ $(stat -c %a server.pid) = 644 ] || exit 3
            kill $server; for turn in {1..400}; do ended $server && break; sleep 0.05; done; ls "$4"
            """, seed: 1, options)
        #expect(result.status == 0 && result.text == "mnt\n", "\(result.text)\(result.errors)")
    }

    @Test("A file of --pid-file that cannot be written ends with 73, before anything is mounted")
    func unwritablePidFile() throws {
        let result = try run(
            """
            for file in "$4/gone/pid" "$4" /dev/null; do
                "$1" --pid-file "$file" "$2" "$3"; echo $?; "$1" -f -o pid_file="$file" "$2" "$3"; echo $?
            done
            ls -A "$4" "$3"; [ -c /dev/null ]
            """, seed: 2)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.text.hasPrefix(String(repeating: "73\n", count: 6)), "\(result.text)\(result.errors)")
        #expect(result.text.contains(":\nmnt\n"))
        #expect(result.errors.contains("--pid-file /dev/null: is no regular file"), "\(result.errors)")
    }

    @Test("A server that cannot mount leaves no file, and one does not remove the file of another")
    func othersPidFile() throws {
        let result = try run(
            """
            "$1" --pid-file "$4/pid" "$2" "$4/gone" 2>/dev/null; "$1" -o frobnicate --pid-file "$4/pid" "$2" "$3" 2>/dev/null
            ls "$4"; "$1" --pid-file "$4/pid" "$2" "$3"; server=$(cat "$4/pid"); echo 7 >"$4/new"; mv "$4/new" "$4/pid"
            fusermount3 -u "$3"; for turn in {1..400}; do ended $server && break; sleep 0.05; done; cat "$4/pid"
            """, seed: 3)
        #expect(result.status == 0 && result.text == "mnt\n7\n", "\(result.text)\(result.errors)")
    }

    @Test("--pid-file replaces nothing that a person may need, and removes nothing that another has written")
    func keptPidFile() throws {
        let result = try run(
            """
            cd "$4"; printf 'two words\n' >notes; printf '12 13' >numbers; seq 100 >many; echo 5 >target; ln -s target link
            printf '\n' >line; : >empty; printf ' 77\n' >number
            for file in notes numbers many link line; do
                cp -P $file kept; "$1" --pid-file $file "$2" "$3"; echo $?; cmp $file kept || exit 2; rm kept
            done
            [ "$(cat target)" = 5 ] && [ -L link ] || exit 3
            for file in empty number; do
                "$1" --pid-file $file "$2" "$3" || exit 4
                server=$(cat $file); kill $server; for turn in {1..400}; do ended $server && break; sleep 0.05; done
                [ -e $file ] && exit 5
            done
            "$1" --pid-file pid "$2" "$3" || exit 6; server=$(cat pid); echo other >pid
            kill $server; for turn in {1..400}; do ended $server && break; sleep 0.05; done; cat pid; ls -A
            """, seed: 6)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        let expected =
            String(repeating: "73\n", count: 5) + "other\nline\nlink\nmany\nmnt\nnotes\nnumbers\npid\ntarget\n"
        #expect(result.text == expected, "\(result.text)\(result.errors)")
        #expect(result.errors.contains("--pid-file notes: has something else in it"), "\(result.errors)")
    }

    @Test("--ready-fd writes a newline when the mount answers, and closes the descriptor")
    func readyDescriptor() throws {
        let result = try run(
            """
            mkfifo "$4/ready"; "$1" -f --ready-fd 7 "$2" "$3" 7>"$4/ready" & server=$!
            od -An -c <"$4/ready"; (cd "$3" && echo *.qcow2); kill $server; wait $server; echo $?
            "$1" -f --ready-fd 8 "$2" "$3" 8>&-; echo $?; "$1" --ready-fd 7 "$2" "$3" 7>/dev/null; echo $?
            """, seed: 4)
        #expect(result.status == 0, "\(result.errors)")
        let words = result.text.split(whereSeparator: \.isWhitespace).map(String.init)
        #expect(words == ["\\n", "plain.qcow2", "0", "64", "64"], "\(result.text)\(result.errors)")
    }

    @Test("It tells systemd when it is ready and when it stops", arguments: ["path", "@abstract"])
    func notify(kind: String) throws {
        let script = """
            import os, signal, socket, subprocess, sys
            command, images, mountpoint, folder, kind = sys.argv[1:]
            name = folder + "/notify" if kind == "path" else "@rblock-test-%d" % os.getpid()
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            listener.bind(name.replace("@", "\\0"))
            listener.settimeout(20)
            environment = dict(os.environ, NOTIFY_SOCKET=name)
            server = subprocess.Popen([command, "-f", images, mountpoint], env=environment)
            print(listener.recv(4096).decode()); print(os.path.exists(mountpoint + "/plain.qcow2/disk.raw")); server.send_signal(signal.SIGTERM)
            print(listener.recv(4096).decode()); print(server.wait(20))
            """
        let result = try run("cat >\"$4/listen\" <<'END'\n\(script)\nEND\npython3 \"$4/listen\" \"$@\"", seed: 5, kind)
        let lines = result.text.split(separator: "\n").map(String.init)
        try #require(result.status == 0 && lines.count == 6, "\(result.text)\(result.errors)")
        #expect(lines[0] == "READY=1" && lines[1].hasPrefix("STATUS=serving /") && lines[1].contains("/mnt"))
        #expect(lines[2] == "True" && lines[3] == "STOPPING=1" && lines[5] == "0")
        #expect(lines[4].hasPrefix("STATUS=unmounting /"))
    }

    @Test(
        "A NOTIFY_SOCKET without a listener does not disturb it", arguments: ["/no/such/socket", "vsock:2:1", "", "@"])
    func noListener(name: String) throws {
        let result = try run(
            """
            NOTIFY_SOCKET=$5 "$1" -f --ready-fd 7 "$2" "$3" 7>"$4/ready" & server=$!
            for turn in {1..400}; do [ -s "$4/ready" ] && break; sleep 0.05; done; (cd "$3" && echo *.qcow2); kill $server; wait $server
            """, seed: 6, name)
        #expect(result.status == 0 && result.text == "plain.qcow2\n", "\(result.errors)")
    }

    @Test("The journal gets lines with a priority and without a time; others get them with the time")
    func journal() throws {
        let result = try run(
            """
            serve() {
                : >"$4/ready"; JOURNAL_STREAM=$number "$1" -f --ready-fd 7 "$2" "$3" 2>"$4/log" 7>"$4/ready" & server=$!
                for turn in {1..400}; do [ -s "$4/ready" ] && return; sleep 0.05; done; exit 2
            }
            for stream in right wrong; do
                : >"$4/log"; number=$(stat -c %d:%i "$4/log"); [ $stream = right ] || number=1:2
                serve "$@"; kill -9 $server; wait $server
                serve "$@"; kill $server; wait $server; grep 'removed the mount' "$4/log"
            done
            """, seed: 7)
        let lines = result.text.split(separator: "\n").map(String.init)
        try #require(lines.count == 2, "\(result.text)\(result.errors)")
        #expect(lines[0].hasPrefix("<5>mountpoint /"), "\(lines[0])")
        #expect(lines[1].hasPrefix("20") && lines[1].contains(" notice "), "\(lines[1])")
    }
}
