import Foundation
import HostTools
import TestImages
import Testing

/// Mounts, devices and processes of others that look like those of an attachment: they stay as they are.
@Suite(
    .serialized,
    .enabled(if: Tool.canUseLoopDevices("qemu-img", "mkfs.ext4", "sfdisk", "strace", "setpriv", "python3", "jq")))
struct `What others have` {
    private static let images = """
        truncate -s 8M a.raw b.raw; mkfs.ext4 -q a.raw; mkfs.ext4 -q b.raw; qemu-img convert -O qcow2 -c a.raw crash.qcow2
        mkdir mnt
        """

    /// Has the variable `device` be that of the only mount, which is taken away then by umount(8) and losetup(8), and mounts
    /// `b.raw` for writing where that was, over the same device.
    private static let reused = """
        device=$("$rblock" attached --output json | jq -r '.[].device')
        umount mnt; losetup -d $device; for turn in {1..100}; do losetup $device b.raw 2>/dev/null && break; sleep 0.1; done; mount $device mnt; echo precious >mnt/data
        """

    @Test(arguments: ["attached", "unmount mnt", "unmount a.raw", "mount b.raw other"])
    func `is not unmounted because it has the number of a device that was ours`(verb: String) throws {
        let folder = try AttachmentFolder(Self.images + "; mkdir other")
        try folder.check("mount", "a.raw", "mnt")
        let kept = try folder.shell(
            Self.reused + """

                "$rblock" $1 >messages 2>&1 || true
                cat mnt/data; findmnt -n -o SOURCE mnt | grep -qx $device; echo more >mnt/more; umount mnt; losetup -d $device
                """, verb)
        #expect(kept == "precious", "\(verb): \(kept)")
        _ = try folder.run("unmount", "other")
        try folder.check("attached")
        #expect(try folder.left() == "", "\(verb)")
    }

    @Test func `keeps no disk from being forgotten whose server is gone and whose device others have`() throws {
        let folder = try AttachmentFolder(Self.images)
        let device = try folder.check("attach", "crash.qcow2")
        let text = try folder.shell(
            """
            losetup -d $1; losetup $1 b.raw; exec 9<$1
            "$rblock" detach crash.qcow2 2>&1 || echo $?; cmp /dev/fd/9 b.raw; losetup -d $1
            """, device)
        #expect(text.contains("its device was detached") && text.hasSuffix("\n2"), "\(text)")
        #expect(try folder.left() == "")
    }

    @Test func `is mounted upon a guest stays, and so does the guest`() throws {
        let folder = try AttachmentFolder(Self.images)
        for arguments in [["unmount", "mnt"], ["unmount", "--lazy", "crash.qcow2"]] {
            try folder.check("mount", "crash.qcow2", "mnt")
            let text = try folder.shell(
                """
                mount -t tmpfs tmpfs mnt; echo x >mnt/data; "$rblock" "$@" 2>&1 || echo $?; cat mnt/data; umount mnt; ls mnt
                """, arguments: arguments)
            #expect(text.contains("mnt: another file system is mounted upon it"), "\(arguments): \(text)")
            #expect(text.hasSuffix("\n1\nx\nlost+found"), "\(arguments): \(text)")
            #expect(try folder.list().map { $0["state"]?.text } == ["mounted"])
            try folder.check("unmount", "mnt")
            #expect(try folder.left() == "", "\(arguments)")
        }
        // A second mount of the same device is another mount.
        try folder.check("mount", "a.raw", "mnt")
        try folder.shell("mount --bind mnt mnt")
        let above = try folder.run("unmount", "mnt")
        #expect(above.status == 1 && above.errors.contains("is mounted upon it"), "\(above.errors)")
        try folder.shell("umount mnt")
        try folder.check("unmount", "mnt")
        #expect(try folder.left() == "")
    }

    @Test(arguments: [false, true])
    func `uses of a guest whose server is gone is not taken away`(isCovered: Bool) throws {
        let folder = try AttachmentFolder(Self.images)
        try folder.check("mount", "crash.qcow2", "mnt")
        let server = try #require(try folder.list().first?["server-pid"]?.number)
        let text = try folder.shell(
            """
            [ $2 = false ] || { mount -t tmpfs tmpfs mnt; echo x >mnt/data; }
            cd mnt; kill -9 $1; while [ -e /proc/$1/exe ]; do sleep 0.05; done
            for turn in 1 2; do "$rblock" attached --output json | jq -r '.[].state'; done
            findmnt -n -o FSTYPE "$PWD"; cd ..; [ $2 = false ] || { cat mnt/data; umount mnt; }
            """, "\(server)", "\(isCovered)")
        #expect(text == "server-gone\nserver-gone\n" + (isCovered ? "ext4\ntmpfs\nx" : "ext4"), "\(text)")
        #expect(try folder.list().count == 0)
        #expect(try folder.left() == "")
    }

    @Test func `runs with the name of a mountpoint among its arguments goes on`() throws {
        let folder = try AttachmentFolder(Self.images)
        let text = try folder.shell(
            """
            words=(tail -q -s 600 -f /dev/null "$PWD/run/crash.qcow2/mnt")
            both_run() { readlink /proc/$user/exe /proc/$root/exe >/dev/null; }
            setpriv --reuid 65534 --regid 65534 --clear-groups "${words[@]}" 2>/dev/null & user=$!
            "${words[@]}" 2>/dev/null & root=$!; trap 'kill $user $root' EXIT
            "$rblock" attach crash.qcow2 >device; "$rblock" detach crash.qcow2; both_run
            # The command is killed before it has written down which process its server is.
            strace -f -b execve -qq -o /dev/null -e 'trace=/^rename' -e 'inject=/^rename:signal=KILL:when=2' \
              "$rblock" attach crash.qcow2 >device 2>&1 || echo $?
            pgrep -f "rblockfs .*$PWD/run/" >/dev/null && "$rblock" attached; both_run
            """)
        #expect(text == "137", "\(text)")
        #expect(try folder.left() == "")
    }

    @Test func `ask is answered while a server is slow to end`() throws {
        let folder = try AttachmentFolder(Self.images)
        let device = try folder.check("attach", "crash.qcow2")
        let server = try #require(try folder.list().first?["server-pid"]?.number)
        let text = try folder.shell(
            """
            losetup -d $1; kill -STOP $2; trap 'kill -CONT $2' EXIT; "$rblock" attached 2>first & first=$!
            for turn in {1..100}; do
              jq -e ".owner.pid == $first" run/crash.qcow2/state.json >/dev/null && break; sleep 0.05
            done
            "$rblock" attached --output json | jq -r '.[].state'; kill -0 $first; kill -CONT $2; wait $first; cat first
            """, device, "\(server)")
        #expect(text == "busy\nrblock: crash.qcow2: its device was detached; what was left of it is removed", "\(text)")
        #expect(try folder.left() == "")
    }

    @Test func `detached, while a partition of it is in use, is no device of ours`() throws {
        let folder = try AttachmentFolder(
            """
            truncate -s 16M raw.raw; truncate -s 8M b.raw
            printf 'label: gpt\\ntable-length: 400\\n300: start=12288, size=8192\\n' | sfdisk -q raw.raw
            """)
        let device = try folder.check("attach", "raw.raw")
        let partition = try #require(try folder.list().first?["partitions"]?.array?.first?["device"]?.text)
        let text = try folder.shell(
            """
            exec 9<$2; losetup -d $1; losetup $1 b.raw; exec 8<$1; trap 'losetup -d $1' EXIT
            "$rblock" attached --output json | jq -r '.[].state'; "$rblock" detach raw.raw 2>&1 || echo $?
            exec 9<&-; "$rblock" detach raw.raw 2>&1 || echo $?; losetup -n -O BACK-FILE $1
            """, device, partition)
        #expect(text.hasPrefix("server-gone\n"), "\(text)")
        #expect(text.components(separatedBy: "is in use by process").count == 2, "\(text)")
        #expect(text.hasSuffix("\n2\n\(folder.path)/b.raw"), "\(text)")
        #expect(try folder.left() == "")
    }

    @Test func `has a link in its path is found by the path of the kernel`() throws {
        let folder = try AttachmentFolder(Self.images + "; ln -s . link")
        let text = try folder.shell(
            """
            export RBLOCK_RUN=$PWD/link/run; device=$("$rblock" attach crash.qcow2); exec 9<$device
            kill -9 $("$rblock" attached --output json | jq -r '.[]["server-pid"]')
            # Until the kernel tells no more of the device than that path: LOOP_GET_STATUS64.
            while python3 -c 'import fcntl; fcntl.ioctl(9, 0x4c05, bytearray(232))' 2>/dev/null; do sleep 0.1; done
            RBLOCK_RUN=link/run "$rblock" attached --output json | jq -r '.[].state'; exec 9<&-
            "$rblock" detach crash.qcow2 2>/dev/null || echo $?
            """)
        #expect(text == "server-gone\n2", "\(text)")
        #expect(try folder.left() == "")
    }

    @Test func `keep in /dev may lack the nodes of loop devices, and then the message has what makes them`() throws {
        let folder = try AttachmentFolder(Self.images + "; mkdir dev")
        let text = try folder.shell(
            """
            unshare -m --propagation private bash -ec '
              mount -t tmpfs tmpfs dev; mknod dev/null c 1 3; mknod dev/urandom c 1 9; mount --bind dev /dev
              "$0" attach a.raw 2>&1 || echo $?; mknod /dev/loop-control c 10 237; "$0" attach a.raw 2>&1 || echo $?' "$rblock"
            """)
        #expect(text.contains("'mknod /dev/loop-control c 10 237' makes it\n1\n"), "\(text)")
        #expect(text.contains(#/'mknod /dev/loop(\d+) b 7 \1' makes it\n1$/#), "\(text)")
        #expect(try folder.left() == "")
    }

    @Test func `is mounted is known of more than a MiB of mounts, and of none where that cannot be read`() throws {
        let folder = try AttachmentFolder(Self.images + "; mkdir many")
        // In a namespace of its own, in which mounts have long names.
        let text = try folder.shell(
            """
            unshare -m --propagation private bash -ec '
              name=$(printf %0200d 0); place=many; for depth in {1..12}; do place=$place/$name; mkdir $place; done
              for number in {1..230}; do mount --bind "$place" "$place"; done
              [ $(wc -c </proc/self/mountinfo) -gt $((1 << 20)) ]
              "$rblock" mount crash.qcow2 mnt; "$rblock" unmount mnt; ! findmnt mnt' 2>&1 || echo $?
            """.replacingOccurrences(of: "unshare", with: "export rblock; unshare"))
        #expect(text == "", "\(text)")
        #expect(try folder.left() == "")
        try folder.check("mount", "crash.qcow2", "mnt")
        let unknown = try folder.shell(
            """
            python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'; export rblock
            unshare -m --propagation private bash -c '
              mount --bind socket /proc/$$/mountinfo; exec "$rblock" unmount mnt' 2>&1 || echo $?
            """)
        #expect(
            unknown.contains("/proc/self/mountinfo: No such device or address") && unknown.hasSuffix("\n1"),
            "\(unknown)")
        #expect(try folder.list().map { $0["state"]?.text } == ["mounted"])
        try folder.check("unmount", "mnt")
        #expect(try folder.left() == "")
    }

    @Test func `is mounted in a copy of the mounts as well stays until that is gone, and the message says so`() throws {
        let folder = try AttachmentFolder(Self.images)
        try folder.check("mount", "crash.qcow2", "mnt")
        let text = try folder.shell(
            """
            unshare -m --propagation private bash -c 'touch copied; exec sleep 1000' & copy=$!
            trap 'kill $copy 2>/dev/null || :' EXIT
            until [ -e copied ]; do sleep 0.05; done
            "$rblock" unmount mnt 2>&1 || echo $?; ! findmnt mnt
            kill $copy; wait $copy || :
            """)
        #expect(text.contains("is mounted in another mount namespace") && text.hasSuffix("\n1"), "\(text)")
        try folder.check("unmount", "crash.qcow2")
        #expect(try folder.left() == "")
    }
}
