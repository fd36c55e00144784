import Foundation
import HostTools
import TestImages
import Testing

/// What people type who know qemu-img.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "strace")))
struct `The habits of qemu-img` {
    private func makeImage() throws -> (folder: TemporaryFolder, image: String) {
        let folder = try TemporaryFolder()
        let image = folder.file("a.qcow2")
        try Shell.check(
            """
            qemu-img create -q -f qcow2 "$1" 4M; qemu-io -c 'write -P 7 0 2M' "$1" >/dev/null
            qemu-img snapshot -c nightly "$1"; qemu-img snapshot -c weekly "$1"
            """, image)
        return (folder, image)
    }

    @Test func `an image in the place of a verb is shown, and other verbs say what does the same`() throws {
        let (folder, image) = try makeImage()
        defer { withExtendedLifetime(folder) {} }
        #expect(try RBlock.run([image]).text == RBlock.run(["info", image]).text)
        #expect(
            try RBlock.run([image, "--output", "json"]).text
                == RBlock.run(["info", "-U", image, "--output", "json"]).text)
        #expect(try RBlock.run(["\(image)@nightly"]).text == RBlock.run(["info", "\(image)@nightly"]).text)
        #expect(try RBlock.run(["http://host/disk"]).errors.contains("a URL is not opened"))
        let missing = try RBlock.run(["gone.qcow2"])
        #expect(missing.status == 1 && missing.errors == "rblock: gone.qcow2: No such file or directory\n")
        for (verb, word) in [
            ("compare", "'rblock diff'"), ("dd", "'rblock read"), ("resize", "'rblock create -b'"),
            ("rebase", "'rblock delta'"),
            ("snapshot", "IMAGE@NAME"), ("bitmap", "--from-bitmap"),
            ("amend", "'rblock convert'"), ("bench", "rblockfs(1)"), ("chek", "did you mean 'check'"),
        ] {
            let result = try RBlock.run([verb, image])
            #expect(result.status == 64 && result.errors.contains(word), "\(verb): \(result.errors)")
        }
    }

    @Test func `options of convert work, or say what to use`() throws {
        let (folder, image) = try makeImage()
        let out = folder.file("out.qcow2")
        let quiet = try RBlock.run(["convert", "-p", "-q", "-c", "-U", "-l", "nightly", "-O", "qcow2", image, out])
        #expect(quiet.status == 0 && quiet.text == "" && quiet.errors == "")
        #expect(try RBlock.json("info", "--allocation", out)["rblock", "allocation", "compressed"]?.number ?? 0 > 0)
        let created = try RBlock.run(["create", "-q", folder.file("new.qcow2"), "1.5G"])
        #expect(created.status == 0 && created.text == "" && created.errors == "")
        #expect(try RBlock.json("info", folder.file("new.qcow2"))["virtual-size"]?.number == 3 << 29)
        let cached = try RBlock.run(["convert", "-t", "none", image, folder.file("other.raw")])
        #expect(cached.status == 64 && cached.errors.contains("--no-sync"))
        for size in ["10GX", "1.5", "big"] {
            let wrong = try RBlock.run(["create", folder.file("wrong.qcow2"), size])
            #expect(wrong.status == 64 && wrong.errors.contains("10GiB, 10GB or 0x100000"), "\(wrong.errors)")
        }
    }

    @Test func `a snapshot that there is not is answered with those that there are`() throws {
        let (folder, image) = try makeImage()
        defer { withExtendedLifetime(folder) {} }
        for arguments in [["hash", "--snapshot", "nigtly", image], ["map", "\(image)@nigtly"]] {
            let result = try RBlock.run(arguments)
            #expect(result.status == 1 && result.errors.contains("no snapshot \"nigtly\""), "\(result.errors)")
            #expect(result.errors.contains("it has \"nightly\", \"weekly\""), "\(arguments): \(result.errors)")
        }
    }

    @Test func `progress is printed where it is asked for, by an option or by a signal`() throws {
        let (folder, _) = try makeImage()
        // A signal is sent once the process has a handler for it. Each look at the file takes its time, so that there is some progress to see.
        let script = """
            cd "$2"; rm -f errors; head -c 64M /dev/urandom >disk.raw
            slowly() { exec strace -f -o /dev/null -e trace=pread64,lseek -e inject=pread64,lseek:delay_enter=300000 "$@"; }
            slowly "$1" hash $3 disk.raw >hash 2>errors & running=$!
            for i in {1..300}; do grep -qs disk.raw errors && break; sleep 0.1
                [ "$4" = signal ] && process=$(pgrep -P $running -x rblock) &&
                    grep -q 'SigCgt:.*[2367abef]..$' /proc/$process/status && kill -USR1 $process; done
            kill $running 2>/dev/null; pkill -P $running -x rblock; wait $running; cat errors
            """
        let lines = try Shell.run(script, Tool.rblock, folder.path, "--progress", "")
        #expect(lines.text.contains("disk.raw  ") && lines.text.contains("%"), "\(lines)")
        let json = try Shell.run(script, Tool.rblock, folder.path, "--progress --output json", "")
        let first = try #require(json.text.split(separator: "\n").first { $0.hasPrefix("{") }, "\(json)")
        let document = try JSONValue(parsing: Data(first.utf8))
        #expect(document["progress", "total"]?.number == 64 << 20 && document["progress", "what"]?.text == "disk.raw")
        let signal = try Shell.run(script, Tool.rblock, folder.path, "", "signal")
        #expect(signal.text.contains("disk.raw  ") && signal.text.contains("%"), "\(signal)")
    }
}
