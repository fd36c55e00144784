import Foundation
import HostTools
import TestImages
import Testing

@Suite("mount(8), fstab and mount.fuse3", .enabled(if: Isolated.isThere))
struct MountCommandTests {
    @Test(
        "mount -t fuse.rblockfs takes every option of mount(8), and umount ends the server",
        arguments: [
            "ro,allow_other",
            "rw,noauto,user,nofail,_netdev,x-systemd.automount,x-systemd.idle-timeout=10,X-mount.mkdir,comment=images",
            "ro,noexec,nosuid,nodev,sync,dirsync,relatime,nodiratime,lazytime,owner,group,users,mand,defaults",
            "suid,dev,exec,async,nouser,auto,atime,noatime,strictatime,nolazytime,iversion,silent",
        ])
    func options(options: String) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 1)
        let result = try Isolated.run(
            """
            mount -t fuse.rblockfs "$1" "$2" -o "$5" || exit 1
            cmp "$3" "$2/plain.qcow2/disk.raw" || exit 2
            grep " $2 " /proc/self/mountinfo; server=$(server)
            umount "$2" || exit 3; for_long ended $server; gone "$2"
            """, gallery, options)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.errors == "")
        let line = result.text
        #expect(line.contains(" - fuse.rblockfs \(gallery.images) ro,"), "\(line)")
        #expect(line.contains("allow_other") == options.contains("allow_other"))
        // For mount(8), "user" implies the other two.
        let words = Set(options.split(separator: ","))
        for word in ["noexec", "nosuid", "nodev"] as [Substring] {
            #expect(line.contains(word) == !words.isDisjoint(with: [word, "user"]), "\(line)")
        }
    }

    @Test("An entry of fstab mounts it, for root and for an ordinary user", arguments: [0, 65534])
    func fstab(user: Int) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 2)
        let result = try Isolated.run(
            """
            echo "$1 $2 fuse.rblockfs ro,noauto,user,nofail,_netdev,x-systemd.automount,cache_size=8M,umask=027 0 0" >"$4/fstab"
            mount --bind "$4/fstab" /etc/fstab; chown $5:$5 "$2"
            setpriv --reuid $5 --regid $5 --clear-groups bash -c '
                mount "$2" || exit 1; cmp "$3" "$2/plain.qcow2/disk.raw" || exit 2
                stat -c %u:%a "$2/plain.qcow2" "$2/plain.qcow2/disk.raw"; server=$(server)
                umount "$2" || exit 3; for_long ended $server; gone "$2"' bash "$@"
            """, gallery, "\(user)")
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
        #expect(result.text == "\(user):550\n\(user):440\n")
    }

    @Test("mount.fuse3's drop_privileges starts a server without any", arguments: ["", ",setuid=nobody", ",nodev"])
    func dropPrivileges(more: String) throws {
        let gallery = try Gallery(["plain.qcow2", "zlib.qcow2"], seed: 3)
        let result = try Isolated.run(
            """
            mount -t fuse.rblockfs "$1" "$2" -o "ro,allow_other,drop_privileges,noauto,cache_size=8M$5" || exit 1
            server=$(server); [ -n "$server" ] || exit 2
            for name in plain zlib; do cmp "$3" "$2/$name.qcow2/disk.raw" || exit 3; done
            grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs|Uid):' /proc/$server/status | cut -f 1,2
            for descriptor in /proc/$server/fd/*; do readlink $descriptor; done | grep -c fuse
            { : >"$2/plain.qcow2/new"; } 2>/dev/null && exit 4
            umount "$2" || exit 5; for_long ended $server
            """, gallery, more)
        #expect(result.status == 0, "\(result.errors)")
        let none = "0000000000000000"
        let user = more.contains("nobody") ? "65534" : "0"
        #expect(
            result.text
                == "Uid:\t\(user)\nCapPrm:\t\(none)\nCapEff:\t\(none)\nCapBnd:\t\(none)\nNoNewPrivs:\t1\n1\n")
    }

    @Test("What a server without privileges left behind when it ended, the next mount takes away")
    func deadPassedMount() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 4)
        let result = try Isolated.run(
            """
            mount -t fuse.rblockfs "$1" "$2" -o ro,drop_privileges || exit 1
            server=$(server); kill $server; for_long ended $server
            ls "$2" 2>&1 | grep -q 'not connected' || exit 2
            mount -t fuse.rblockfs "$1" "$2" -o ro || exit 3
            cmp "$3" "$2/plain.qcow2/disk.raw" && umount "$2" && gone "$2"
            """, gallery)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.errors.contains("removed the mount"))
    }

    @Test("A device is served in the foreground and the background, and keeps its number")
    func passedDevice() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        for (number, options) in [(3, []), (4, []), (9, ["-f"])] {
            let result = try Isolated.run(
                """
                eval "exec $5<>/dev/fuse"
                mount -i -t fuse.rblockfs images "$2" -o "ro,fd=$5,rootmode=40000,user_id=0,group_id=0" || exit 1
                rblockfs $6 "$1" /dev/fd/$5 & program=$!; eval "exec $5>&-"
                cmp "$3" "$2/plain.qcow2/disk.raw" || exit 2
                [ -n "$6" ] || wait $program || exit 3
                umount "$2" || exit 4
                [ -z "$6" ] || wait $program
                """, gallery, "\(number)", options.joined(separator: " "))
            #expect(result.status == 0, "\(number): \(result.errors)")
        }
    }

    @Test("What is no device is refused, and so is one that is mounted over the images")
    func wrongDevice() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 6)
        let result = try Isolated.run(
            """
            rblockfs "$1" /dev/fd/9 9>&-; echo $?; rblockfs "$1" /dev/fd/9 9</dev/null; echo $?
            rblockfs "$1" /dev/fd/2 2<>/dev/fuse; echo $?
            mount -t fuse.rblockfs "$1" "$1" -o ro,drop_privileges; echo $?; umount -l "$1"
            """, gallery)
        #expect(result.status == 0 && result.text == "73\n73\n73\n73\n", "\(result.text)\(result.errors)")
        #expect(result.errors.contains("is no open descriptor of /dev/fuse"))
        #expect(result.errors.contains("hides \(gallery.images)"), "\(result.errors)")
    }
}
