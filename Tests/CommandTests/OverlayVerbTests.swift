import Foundation
import HostTools
import TestImages
import Testing

/// What `rblock commit` and `rblock discard` refuse, and what `info` says of overlays.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "python3", "fallocate")))
struct `An overlay` {
    @Test func `is committed only into an image that it was made over, and that no other needs`() throws {
        let images = try OverlayImages(OverlayImages.made)
        let mount = try images.mount()
        for image in ["base.qcow2", "disk.vmdk", "disk.raw", "old.qcow2"] {
            try Shell.check(OverlayImages.changes, mount.disk(image))
        }
        try images.refused("base.qcow2", "a server has these overlays in use")
        try mount.unmount()
        try images.refused("disk.vmdk", "'rblock convert --allow-path DIR OVERLAY NEW-IMAGE'")
        try images.refused("old.qcow2", "version 2 are not written to")
        try images.refused("old.qcow2", "'rblock convert --allow-path DIR OVERLAY NEW-IMAGE'")
        let unasked = try images.run("commit", "disk.raw", "--allow-path", "images")
        #expect(unasked.status == 64 && unasked.errors.contains("--yes"), "\(unasked)")
        let outside = try images.run("commit", "disk.raw", "--yes")
        #expect(outside.status == 1 && outside.errors.contains("--allow-path"), "\(outside)")
        // Another image of the folder, or below it.
        try Shell.check(
            "cd \"$1/images\"; mkdir sub; cd sub; qemu-img create -q -f qcow2 -F qcow2 -b ../base.qcow2 child.qcow2",
            images.path)
        let dependent = try images.run("commit", "base.qcow2", "--yes", "--allow-path", "images")
        #expect(
            dependent.status == 1 && dependent.errors.contains("images/sub/child.qcow2 builds on it"), "\(dependent)")
        #expect(dependent.errors.contains("--ignore-dependents"))
        try Shell.check("rm -r \"$1/images/sub\"", images.path)
        // By its permissions, and as a link to elsewhere.
        try Shell.check("chmod a-w \"$1/images/base.qcow2\"", images.path)
        try images.refused("base.qcow2", "its permissions let no user write to it")
        try Shell.check(
            "cd \"$1\"; chmod u+w images/base.qcow2; mkdir far; mv images/base.qcow2 far; ln -s ../far/base.qcow2 images",
            images.path)
        try images.refused("base.qcow2", "is a link to", "--allow-path", "far")
        try Shell.check("cd \"$1\"; mv far/base.qcow2 images; rmdir far", images.path)
        // What QEMU does with both.
        for file in ["images/base.qcow2", "changes/base.qcow2.overlay.qcow2"] {
            try Shell.check(
                """
                cd "$1"; mkfifo hold; (echo 'read 0 512'; cat hold) | qemu-io -r -f qcow2 $3 >/dev/null 2>said & sleep 1
                status=0; "$2" commit --yes --allow-path images changes/base.qcow2.overlay.qcow2 2>errors || status=$?
                echo >hold; wait; rm hold; [ $status = 1 ]; grep -q 'in use, and locked' errors
                """, images.path, Tool.rblock, file)
        }
        // Snapshots would be lost.
        try Shell.check(
            "cd \"$1\"; cp changes/base.qcow2.overlay.qcow2 kept; qemu-img snapshot -c now changes/base.qcow2.overlay.qcow2",
            images.path)
        try images.refused("base.qcow2", "internal snapshots")
        try Shell.check(
            "cd \"$1\"; mv kept changes/base.qcow2.overlay.qcow2; qemu-img resize -q changes/base.qcow2.overlay.qcow2 48M",
            images.path)
        try images.refused("base.qcow2", "which stays as large as it is")
        // Written to by another program.
        try Shell.check("qemu-io -c 'write -P 9 20M 1M' \"$1\" >/dev/null", images.folder.file("images/base.qcow2"))
        try images.refused("base.qcow2", "both together are no disk")
        // With a word of the user, others may build on it.
        try Shell.check("cd \"$1/images\"; qemu-img create -q -f qcow2 -F raw -b disk.raw child.qcow2", images.path)
        try images.refused("disk.raw", "child.qcow2 builds on it")
        #expect(
            try images.run("commit", "disk.raw", "--yes", "--ignore-dependents", "--allow-path", "images").status == 0)
    }

    @Test func `is thrown away only when that is meant`() throws {
        let images = try OverlayImages(OverlayImages.made)
        let before = try Shell.check("sha256sum \"$1/images/base.qcow2\"", images.path)
        let mount = try images.mount()
        try Shell.check(OverlayImages.changes, mount.disk("base.qcow2"))
        #expect(try images.run("discard", "base.qcow2", "--yes").status == 1)
        try mount.unmount()
        let unasked = try images.run("discard", "base.qcow2")
        #expect(unasked.status == 64 && unasked.errors.contains("--yes"), "\(unasked)")
        // On a terminal, a person says so.
        let ask = """
            import os, pty, sys
            pid, master = pty.fork()
            if pid == 0: os.execv(sys.argv[2], sys.argv[2:])
            said = b''
            while b'[y/N]' not in said: said += os.read(master, 1000)
            os.write(master, sys.argv[1].encode() + b'\\n')
            try:
                while True:
                    more = os.read(master, 1000)
                    if not more: break
                    said += more
            except OSError: pass
            print(said.decode()); sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            """
        let no = try Tool.run("python3", ["-c", ask, "n", Tool.rblock, "discard", images.overlay("base.qcow2")])
        #expect(
            no.status == 1 && no.text.contains("nothing was changed") && no.text.contains("images/base.qcow2"), "\(no)")
        let other = try RBlock.run(["discard", "--yes", "images/other.qcow2"], in: images.path)
        #expect(other.status == 1 && other.errors.contains("is no overlay of 'rblockfs --overlay'"), "\(other)")
        #expect(FileManager.default.fileExists(atPath: images.overlay("base.qcow2")))
        let yes = try Tool.run("python3", ["-c", ask, "y", Tool.rblock, "discard", images.overlay("base.qcow2")])
        #expect(yes.status == 0 && yes.text.contains("MiB thrown away"), "\(yes)")
        #expect(!FileManager.default.fileExists(atPath: images.overlay("base.qcow2")))
        #expect(try Shell.check("sha256sum \"$1/images/base.qcow2\"", images.path) == before)
        // Also of an image that is gone.
        try images.write("disk.raw")
        try Shell.check("rm \"$1/images/disk.raw\"", images.path)
        let document = try RBlock.json("discard", "--yes", images.overlay("disk.raw"))
        #expect(
            document["bytes-written"]?.number ?? 0 > 1_000_000
                && document["base"]?.text?.hasSuffix("images/disk.raw") == true)
        #expect(try Shell.check("ls \"$1/changes\"", images.path) == "")
    }

    @Test(.enabled(if: Tool.areThere("strace", "pgrep")))
    func `is worked at without locks where that is said, and where they fail the message says so`() throws {
        let images = try OverlayImages(OverlayImages.made)
        try images.write("base.qcow2")
        let overlay = "changes/base.qcow2.overlay.qcow2"
        func commit(failing call: String, of file: String, _ option: String) throws -> ToolResult {
            try Shell.run(
                """
                cd "$1"; strace -f -qq -o /dev/null -P "$3" -e trace=$4 -e inject=$4:error=ENOLCK \
                  "$2" commit --yes $5 --allow-path images "$6"
                """, images.path, Tool.rblock, file, call, option, overlay)
        }
        for file in ["images/base.qcow2", overlay] {
            let result = try commit(failing: "fcntl", of: file, "")
            #expect(result.status == 1 && result.errors.contains("--no-lock does without"), "\(file): \(result)")
        }
        // The folder's own lock stays.
        let unlocked = try commit(failing: "flock", of: "changes", "--no-lock")
        #expect(
            unlocked.status == 1 && unlocked.errors.contains("in a folder of a file system that has locks"),
            "\(unlocked)")
        let before = try images.disk("base.qcow2")
        #expect(try commit(failing: "fcntl", of: "images/base.qcow2", "--no-lock").status == 0)
        #expect(try images.disk("base.qcow2") == before)
        #expect(!FileManager.default.fileExists(atPath: images.overlay("base.qcow2")))
    }

    @Test(.enabled(if: Tool.areThere("strace", "pgrep")))
    func `is looked at again once it is locked`() throws {
        let images = try OverlayImages(OverlayImages.made)
        try images.write("base.qcow2")
        // A commit begins and is killed just as another program is about to lock the overlay.
        let said = try Shell.run(
            """
            cd "$1"; overlay=changes/base.qcow2.overlay.qcow2; cp $overlay clean
            strace -f -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when=2 \
              "$2" commit --yes --allow-path images $overlay; cp $overlay begun; cat clean >$overlay
            strace -f -qq -o /dev/null -e trace=flock -e inject=flock:signal=STOP:when=1 "$2" discard --yes $overlay & tracer=$!; trap 'kill -9 $child $tracer' EXIT
            for turn in {1..600}; do
              child=$(pgrep -P $tracer); if ls -l /proc/$child/fd 2>/dev/null | grep -q '/changes$'; then break; fi; sleep 0.05
            done
            for turn in {1..600}; do if grep -q '^State:.[Tt]' /proc/$child/status; then break; fi; sleep 0.05; done
            cat begun >$overlay; kill -CONT $child; status=0; wait $tracer || status=$?; trap - EXIT; exit $status
            """, images.path, Tool.rblock)
        #expect(said.status == 1 && said.errors.contains("'rblock commit' has begun to write it"), "\(said)")
        #expect(FileManager.default.fileExists(atPath: images.overlay("base.qcow2")))
        let help = try RBlock.run(["serve", "--help"], in: images.path)
        #expect(help.text.contains("'rblock commit'") && help.text.contains("'rblock discard'"))
    }

    @Test func `is named itself, and has no snapshots`() throws {
        let images = try OverlayImages(OverlayImages.made)
        try images.write("base.qcow2")
        let (overlay, link) = (images.overlay("base.qcow2"), images.folder.file("link"))
        try Shell.check("ln -s \"$1\" \"$2\"; qemu-img snapshot -c before \"$1\"", overlay, link)
        for options in [["commit", "--yes", "--allow-path", "images"], ["discard", "--yes"]] {
            let said = try RBlock.run(options + [link], in: images.path)
            #expect(said.status == 1 && said.errors.contains("is a link to \(overlay): name that"), "\(said)")
        }
        try images.refused("base.qcow2", "'qemu-img snapshot -l \(overlay)' lists them")
        try Shell.check("qemu-img snapshot -d before \"$1\"", overlay)
        #expect(try images.run("commit", "base.qcow2", "--yes", "--allow-path", "images").status == 0)
    }

    @Test func `says how it stands with the image under it`() throws {
        let images = try OverlayImages(OverlayImages.made)
        try images.write("base.qcow2")
        #expect(try images.base(of: "base.qcow2")?["state"]?.text == "unchanged")
        let unseen = try RBlock.json("info", images.overlay("base.qcow2"))["rblock", "base"]
        #expect(unseen?["state"]?.text == "not-looked-at" && unseen?["reason"]?.text?.contains("--allow-path") == true)
        let chain = try RBlock.json(
            "info", "--backing-chain", "--allow-path", images.folder.file("images"), images.overlay("base.qcow2"))
        #expect(chain.array?.map { $0["rblock", "base", "state"]?.text } == ["unchanged", nil])
        try Shell.check(
            "cd \"$1/images\"; cp base.qcow2 kept; qemu-io -c 'write -P 9 20M 1M' base.qcow2 >/dev/null", images.path)
        let changed = try images.base(of: "base.qcow2")
        #expect(
            changed?["state"]?.text == "changed"
                && changed?["reason"]?.text?.contains("the image under it has another") == true)
        let human = try RBlock.run(["info", "--allow-path", "images", images.overlay("base.qcow2")], in: images.path)
        #expect(
            human.status == 0 && human.text.contains("image under the overlay: changed: the image under it has another")
        )
        try Shell.check("cd \"$1/images\"; rm base.qcow2", images.path)
        #expect(try images.base(of: "base.qcow2")?["state"]?.text == "missing")
        // Images that are no overlays have nothing of that.
        #expect(try RBlock.json("info", images.folder.file("images/other.qcow2"))["rblock", "base"] == nil)
    }

    @Test func `has everything when its mount is unmounted by rblock`() throws {
        let images = try OverlayImages(OverlayImages.made)
        let mount = try images.mount()
        try Shell.check(OverlayImages.changes, mount.disk("base.qcow2"))
        let want = try Shell.check("sha256sum <\"$1\"", mount.disk("base.qcow2"))
        let said = try JSONValue(parsing: FileManager.default.contents(atPath: mount.file("stats.json")) ?? Data())
        #expect(said["rblock", "server-pid"]?.number == Int(mount.server))
        let busy = try Shell.run(
            "exec 5<\"$1\"; \"$2\" unmount \"$3\"", mount.disk("base.qcow2"), Tool.rblock, mount.path)
        #expect(busy.status == 1 && busy.errors.contains("is in use"), "\(busy)")
        let document = try RBlock.json("unmount", mount.path)
        #expect(!mount.isServing && !mount.isMounted)
        #expect(document["state"]?.text == "unmounted" && document["server-pid"]?.number == Int(mount.server))
        #expect(try images.disk("base.qcow2") == want)
        try QemuImg.run("check", "-q", images.overlay("base.qcow2"))
        // Where a file of it is open, it ends later.
        let other = try images.mount()
        let lazy = try Shell.run(
            "exec 5<\"$1\"; \"$2\" unmount --lazy \"$3\"; kill -0 $4", other.disk("base.qcow2"), Tool.rblock,
            other.path, "\(other.server)")
        #expect(lazy.status == 0 && !other.isMounted, "\(lazy)")
        #expect(other.waitForEnd())
    }

    @Test func `stays mounted while it has no space for what was written`() throws {
        let images = try OverlayImages("truncate -s 32M a.raw")
        // The tables of a new overlay take more.
        let small = try HostFileSystem("tmpfs", size: 100 << 10)
        let mount = try Mount(
            images.folder.file("images"), options: ["--overlay", small.path + "/changes"],
            at: images.folder.file("mnt"),
            in: images.folder)
        let disk = mount.disk("a.raw")
        let full = try Shell.run(
            """
            head -c 4096 /dev/urandom >data; dd if=data of="$1" conv=notrunc,nocreat status=none; echo $?
            sync "$1"; echo $?; sync "$2"; echo $?; "$3" unmount "$2"
            """.replacing("data", with: images.folder.file("data")), disk, mount.path, Tool.rblock)
        #expect(full.status == 1 && full.text == "1\n1\n1\n", "\(full)")
        #expect(full.errors.contains("stays mounted") && full.errors.contains("--lazy"), "\(full)")
        #expect(mount.isMounted && mount.isServing)
        // With space all goes on.
        try Shell.check(
            """
            mount -o remount,size=2M "$4"; dd if="$5" of="$1" conv=notrunc,nocreat status=none; sync "$2"
            exec "$3" unmount "$2"
            """, disk, mount.path, Tool.rblock, small.path, images.folder.file("data"))
        #expect(!mount.isMounted && !mount.isServing)
        let overlay = small.path + "/changes/a.raw.overlay.qcow2"
        try QemuImg.run("check", "-q", overlay)
        try Shell.check(
            "qemu-img convert -O raw \"$1\" \"$2/out\"; cmp -n 4096 \"$2/out\" \"$2/data\"", overlay, images.path)
        withExtendedLifetime(small) {}
    }
}
