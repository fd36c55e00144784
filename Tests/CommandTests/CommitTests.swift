import Foundation
import HostTools
import TestImages
import Testing

/// `rblock commit`: what a mount has written to overlays, in the images under them. The judge is qemu-img.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "fallocate", "strace")))
struct `A commit` {
    /// Images of 32 MiB, of which one ends with a part of a sector.
    private static let bases: [(name: String, script: String)] = [
        ("odd.raw", "head -c 9M /dev/urandom >odd.raw; truncate -s 33554000 odd.raw"),
        (
            "extended.qcow2",
            "qemu-img create -q -f qcow2 -o extended_l2=on extended.qcow2 32M; qemu-io -c 'write -P 7 0 9M' extended.qcow2"
        ),
        (
            "small.qcow2",
            "qemu-img create -q -f qcow2 -o cluster_size=1k,refcount_bits=1 small.qcow2 32M; qemu-io -c 'write -P 7 1M 7M' small.qcow2"
        ),
        (
            "compressed.qcow2",
            "head -c 4M /dev/urandom >r; yes | head -c 8M >>r; truncate -s 32M r; qemu-img convert -O qcow2 -c r compressed.qcow2; rm r"
        ),
        (
            "child.qcow2",
            "head -c 12M /dev/urandom >below.raw; truncate -s 20M below.raw; qemu-img create -q -f qcow2 -b below.raw -F raw child.qcow2 32M; qemu-io -c 'write -P 7 4M 2M' child.qcow2"
        ),
    ]

    @Test(arguments: bases)
    func `has the image be the disk that the mount showed`(base: (name: String, script: String)) throws {
        let images = try OverlayImages(base.script)
        for _ in 0..<2 {
            let mount = try images.mount()
            try Shell.check(OverlayImages.changes, mount.disk(base.name))
            try Shell.check("cp \"$1\" \"$2/seen\"", mount.disk(base.name), images.path)
            try mount.unmount()
            let before = try images.disk(base.name)
            let document = try RBlock.json(
                "commit", "--yes", "--allow-path", images.folder.file("images"), images.overlay(base.name))
            #expect(document["bytes-written"]?.number ?? 0 > 1_000_000 && document["error"] == nil, "\(document)")
            #expect(document["bytes-zeroed"]?.number ?? 0 > 3_000_000)
            #expect(!FileManager.default.fileExists(atPath: images.overlay(base.name)))
            if base.name != "odd.raw" {
                #expect(try images.disk(base.name) == before)
                try QemuImg.run("check", "-q", images.folder.file("images/\(base.name)"))
            }
            try Shell.check(
                "cd \"$1\"; qemu-img convert -O raw -f $3 images/$2 now; truncate -s $(stat -c %s seen) now; cmp now seen",
                images.path,
                base.name, base.name == "odd.raw" ? "raw" : "qcow2")
            // What was punched takes no space any more.
            let map = try RBlock.map(images.folder.file("images/\(base.name)"))
            let hole = map.first { $0.start <= 5 << 20 && $0.start + $0.length > 5 << 20 }
            #expect(hole?.data == false && hole.map { $0.start + $0.length >= 8 << 20 } == true, "\(hole as Any)")
        }
        #expect(
            try Shell.check("stat -c %s \"$1/seen\"", images.path) == (base.name == "odd.raw" ? "33554000" : "33554432")
        )
    }

    @Test func `that is killed before any write, sync or removal leaves the same disk, and can be done again`() throws {
        let images = try OverlayImages(
            """
            qemu-img create -q -f qcow2 -o cluster_size=4k base.qcow2 32M; qemu-io -c 'write -P 7 3M 9M' base.qcow2
            head -c 32M /dev/urandom >base.raw
            """)
        let mount = try images.mount()
        for image in ["base.qcow2", "base.raw"] { try Shell.check(OverlayImages.changes, mount.disk(image)) }
        try mount.unmount()
        // $1: the folder, $2: rblock, $3: the image, $4: its format. Prints before how many of these calls it was killed.
        let script = """
            cd "$1"; overlay=changes/$3.overlay.qcow2; cp -p images/$3 kept; cp $overlay kept.overlay
            digest() { qemu-img convert -f $1 -O raw $2 disk; sha256sum <disk; }
            calls=pwrite64,fallocate,ftruncate,fdatasync,unlink,fsync; want=$(digest qcow2 $overlay)
            for call in {1..60}; do
              # Also over what the one that was killed before has left.
              if [ ! -e $overlay ] || [ $((call % 2)) = 1 ]; then
                cat kept >images/$3; touch -r kept images/$3; cp kept.overlay $overlay
              fi
              status=0; strace -f -qq -o /dev/null -e trace=$calls -e inject=$calls:signal=KILL:when=$call \
                "$2" commit --yes --ignore-dependents --allow-path images $overlay >said 2>&1 || status=$?
              if [ $status = 0 ]; then break; fi
              [ $status = 137 ]
              if [ -e $overlay ]; then
                [ "$(digest qcow2 $overlay)" = "$want" ]
                [ "$("$2" hash --allow-path images $overlay | cut -d' ' -f1)" = "${want%% *}" ]
                # What a writer of QCOW2 leaves that was killed is space that nothing uses, at most.
                [ $4 = raw ] || qemu-img check -q images/$3 || [ $? = 3 ]
              else
                [ "$(digest $4 images/$3)" = "$want" ]
              fi
            done
            [ ! -e $overlay ]; [ "$(digest $4 images/$3)" = "$want" ]; echo $call
            """
        for (image, format) in [("base.qcow2", "qcow2"), ("base.raw", "raw")] {
            let calls = try Shell.check(script, images.path, Tool.rblock, image, format)
            #expect((8...50).contains(Int(calls) ?? 0), "\(image): \(calls)")
        }
    }

    @Test func `that ends in the middle is done again before the disk is mounted, and is never thrown away`() throws {
        let images = try OverlayImages(
            "qemu-img create -q -f qcow2 base.qcow2 32M; qemu-io -c 'write -P 7 0 4M' base.qcow2")
        try images.write("base.qcow2")
        let before = try images.disk("base.qcow2")
        func killed(beforeWrite number: Int) throws -> Int32 {
            try Shell.run(
                """
                cd "$1"; strace -f -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when=$3 \
                  "$2" commit --yes --allow-path images changes/base.qcow2.overlay.qcow2
                """, images.path, Tool.rblock, "\(number)"
            ).status
        }
        // The first write is to the overlay. A mount takes it back where the image has nothing yet.
        #expect(try killed(beforeWrite: 2) == 137)
        #expect(try images.run("discard", "base.qcow2", "--yes").status == 1)
        try images.write("base.qcow2", "cat \"$1\" >/dev/null")
        #expect(try images.disk("base.qcow2") == before)
        // After a power cut the image may have a part although its time says nothing of that.
        #expect(try images.run("discard", "base.qcow2", "--yes").status == 1)
        #expect(try killed(beforeWrite: 4) == 137)
        #expect(
            try images.disk("base.qcow2") == before && images.base(of: "base.qcow2")?["state"]?.text == "committing")
        let discarded = try images.run("discard", "base.qcow2", "--yes")
        #expect(discarded.status == 1 && discarded.errors.contains("'rblock commit'"), "\(discarded)")
        let mount = try images.mount()
        let read = try Shell.run("cat \"$1\" >/dev/null; cat \"${1%/*}/stats.json\"", mount.disk("base.qcow2"))
        #expect(read.text.contains("'rblock commit' has written a part of it"), "\(read)")
        try mount.unmount()
        // Another program writes to the base, which is not seen, or puts another file in its place, which is.
        try Shell.check("cd \"$1/images\"; cp base.qcow2 other; mv base.qcow2 kept; mv other base.qcow2", images.path)
        #expect(try images.run("commit", "base.qcow2", "--yes", "--allow-path", "images").status == 1)
        try Shell.check("cd \"$1/images\"; mv kept base.qcow2", images.path)
        let again = try images.run("commit", "base.qcow2", "--yes", "--allow-path", "images")
        #expect(again.status == 0, "\(again)")
        #expect(try images.disk("base.qcow2") == before)
        try Shell.check("qemu-img check -q \"$1\" || [ $? = 3 ]", images.folder.file("images/base.qcow2"))
    }
}

/// The same, where the kernel's file systems take part.
@Suite(.enabled(if: Tool.canUseLoopDevices("qemu-img", "mkfs.ext4", "fsck.ext4")))
struct `A commit of a file system` {
    @Test func `is one that fsck finds sound, with its files`() throws {
        let images = try OverlayImages("qemu-img create -q -f qcow2 -o cluster_size=2M fs.qcow2 64M")
        try images.write(
            "fs.qcow2",
            """
            device=$(losetup -f --show "$1"); trap 'umount "${1%/*/*/*}/guest" 2>/dev/null || true; losetup -d $device' EXIT
            mkfs.ext4 -q $device; mkdir -p "${1%/*/*/*}/guest"; mount $device "${1%/*/*/*}/guest"
            head -c 5M /dev/urandom >"${1%/*/*/*}/guest/file"; sha256sum <"${1%/*/*/*}/guest/file" >"${1%/*/*/*}/sum"
            rm -f "${1%/*/*/*}/guest/file2"; umount "${1%/*/*/*}/guest"
            """)
        let result = try images.run("commit", "fs.qcow2", "--yes", "--allow-path", "images")
        #expect(result.status == 0, "\(result)")
        try Shell.check(
            """
            cd "$1"; qemu-img convert -O raw images/fs.qcow2 fs; fsck.ext4 -fn fs >/dev/null 2>&1
            [ "$(debugfs -R 'cat file' fs 2>/dev/null | sha256sum)" = "$(cat sum)" ]
            """, images.path)
    }

    @Test func `on a full disk changes nothing for the mount, and can be done again`() throws {
        let images = try OverlayImages(
            "qemu-img create -q -f qcow2 base.qcow2 32M; qemu-io -c 'write -P 7 0 4M' base.qcow2")
        // A small file system takes the place of the folder of images.
        try Shell.check(
            "cd \"$1\"; mv images all; mkdir images; mount -t tmpfs -o size=5300k tmpfs images; cp all/* images",
            images.path)
        defer { _ = try? Shell.run("umount -l \"$1/images\"", images.path) }
        try images.write("base.qcow2", "head -c 6M /dev/urandom | dd of=\"$1\" bs=1M seek=3 conv=notrunc status=none")
        let before = try images.disk("base.qcow2")
        let full = try images.run("commit", "base.qcow2", "--yes", "--allow-path", "images")
        #expect(full.status == 1 && full.errors.contains("No space left"), "\(full)")
        #expect(full.errors.contains("nothing is lost: the same command can be run again"), "\(full.errors)")
        #expect(try images.disk("base.qcow2") == before)
        // The image has a part of it, and both together are as before.
        #expect(try images.base(of: "base.qcow2")?["state"]?.text == "committing")
        #expect(try images.run("discard", "base.qcow2", "--yes").status == 1)
        try images.write("base.qcow2", "[ \"$(sha256sum <\"$1\")\" = '\(before)' ]")
        try QemuImg.run("check", "-q", images.folder.file("images/base.qcow2"))
        try Shell.check("mount -o remount,size=50m \"$1/images\"", images.path)
        #expect(try images.run("commit", "base.qcow2", "--yes", "--allow-path", "images").status == 0)
        #expect(try images.disk("base.qcow2") == before)
        try QemuImg.run("check", "-q", images.folder.file("images/base.qcow2"))
    }
}
