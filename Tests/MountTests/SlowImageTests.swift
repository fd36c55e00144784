import Foundation
import HostTools
import TestImages
import Testing

@Suite("An image whose disk does not answer", .serialized, .enabled(if: Tool.canMount("dd", "cmp", "kill")))
struct SlowImageTests {
    /// A mount of `folder/slow` is the dead disk: its server is stopped and goes on as a signal says. `folder/images` has
    /// a link to its image, and `fast.raw`.
    @Test("It holds up its own readers only, and is read on when it answers again", .timeLimit(.minutes(5)))
    func isolation() throws {
        let folder = try TemporaryFolder()
        for name in ["slow", "images"] { _ = try folder.makeFolder(name) }
        try Pattern.writeDisk(folder.file("slow/x.raw"), size: 32 << 20, seed: 1)
        try Pattern.writeDisk(folder.file("images/fast.raw"), size: 8 << 20, seed: 2)
        let far = try Mount(folder.file("slow"))
        try Shell.check("ln -s \"$1\" \"$2\"/images/slow.raw", far.disk("x.raw"), folder.path)
        let mount = try Mount(folder.file("images"), options: ["--allow-path", far.path])
        try Shell.check("head -c 4096 \"$1\" >/dev/null", mount.disk("slow.raw"))
        kill(far.server, SIGSTOP)
        defer { kill(far.server, SIGCONT) }
        // Many more than there are threads, each at a place of its own that no cache has.
        try Shell.check(
            """
            cd "$1"
            for i in $(seq 1 60); do
                dd if="$2" of=part$i bs=64k count=1 skip=$((i * 8)) iflag=direct status=none 2>>errors </dev/null &
            done
            disown -a; sleep 0.5
            """, folder.path, mount.disk("slow.raw"))
        let answer = try Shell.run(
            "timeout 20 cmp \"$1\" \"$2\" && timeout 20 cat \"$3\" >/dev/null && timeout 20 ls -l \"$4\" >/dev/null",
            folder.file("images/fast.raw"), mount.disk("fast.raw"), mount.stats("fast.raw"), mount.file("fast.raw"))
        #expect(answer.status == 0, "The other image is read: \(answer.errors)")
        kill(far.server, SIGCONT)
        let whole = wait(seconds: 60) {
            (1...60).allSatisfy { (try? Status(folder.file("part\($0)")).size) == 65536 }
        }
        #expect(whole, "Who waited gets what it asked for.")
        for part in [1, 30, 60] {
            try Shell.check(
                "cmp -n 65536 -i 0:$3 \"$1\" \"$2\"", folder.file("part\(part)"), folder.file("slow/x.raw"),
                "\(part * 8 * 65536)")
        }
        #expect(try Shell.check("cat \"$1\"", folder.file("errors")) == "")
        try mount.unmount()
    }
}
