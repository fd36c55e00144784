import HostTools
import TestImages
import Testing

/// Who may read what of guests in a mount with --files, and that nothing in a guest gives rights on the host.
@Suite("Rights on files of guests in a mount", .enabled(if: Isolated.isThere && Tool.areThere("mkfs.ext4", "setfattr")))
struct GuestAccessTests {
    /// Makes guest.raw in $1: files of root and of user 65534, a program that says who runs it, which belongs to root and is
    /// set-user-ID, and a device that is /dev/zero where it can be opened.
    private static let guest = """
        make() {
            local tree="$4/tree"; mkdir -p "$tree/etc" "$tree/usr" "$tree/bin" "$tree/closed"; cp /usr/bin/id "$tree/bin/id"
            echo secret >"$tree/secret"; echo open >"$tree/open"; echo own >"$tree/own"; chown 65534 "$tree/own"
            echo deep >"$tree/closed/deep"; chmod 600 "$tree/secret" "$tree/own"; chmod 644 "$tree/open"; chmod 700 "$tree/closed"
            ln -s /secret "$tree/link"; chmod 4755 "$tree/bin/id"; mknod -m 666 "$tree/zero" c 1 5
            setfattr -n user.seen -v 1 "$tree/secret"; setfattr -n trusted.hidden -v 1 "$tree/secret"
            setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 "$tree/open"
            mkfs.ext4 -q -d "$tree" "$1/guest.raw" 16M >/dev/null 2>&1; chmod 644 "$1/guest.raw"
        }
        as() { setpriv --reuid $1 --regid $1 --clear-groups "${@:2}"; }
        make "$@"; F=$2/guest.raw/files

        """

    @Test func `an ordinary user reads all the files of an image that he can read, and no one else does`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 3)
        let result = try Isolated.run(
            Self.guest + """
                as 65534 rblockfs --files "$1" "$2" || exit 1
                as 65534 cat $F/secret $F/link $F/own $F/closed/deep || exit 2
                as 65534 stat -c '%a %u' $F/secret $F/closed; as 65534 tar -C $F -c . | tar -t | wc -l
                as 65534 getfattr -d -m - --absolute-names $F/secret | grep -v -e '^#' -e '^$'
                cat $F/secret 2>/dev/null && exit 3; as 1234 cat $F/open 2>/dev/null && exit 4
                as 65534 bash -c 'echo >"$1"/own' bash $F 2>/dev/null && exit 5; as 65534 head -c 1 $F/zero 2>/dev/null && exit 6
                as 65534 $F/bin/id -u; server=$(server); as 65534 fusermount3 -u "$2"; for_long ended $server
                """, gallery)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(
            result.text == "secret\nsecret\nown\ndeep\n600 0\n700 0\n13\nuser.seen=\"1\"\n65534\n", "\(result.text)")
    }

    @Test func `for others the kernel compares the owners and permissions of the guest`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 4)
        let result = try Isolated.run(
            Self.guest + """
                rblockfs --files -o allow_other,dev,suid "$1" "$2" || exit 1
                cat $F/secret $F/own; as 65534 cat $F/own $F/open; as 1234 cat $F/open
                for user in 65534 1234; do
                    as $user cat $F/secret $F/link $F/closed/deep 2>/dev/null && exit 2; as $user head -c 1 $F/zero 2>/dev/null && exit 3
                    as $user $F/bin/id -u
                done
                as 1234 cat $F/own 2>/dev/null && exit 4; head -c 1 $F/zero 2>/dev/null && exit 5
                getfattr --only-values -n trusted.hidden --absolute-names $F/secret; echo; stat -c '%a %t %T' $F/bin/id $F/zero
                umount "$2"; for_long gone "$2"
                # Who cannot come into the folder of the image cannot come here.
                rblockfs --files -o allow_other,umask=007,gid=1234 "$1" "$2" || exit 6
                as 65534 cat $F/own 2>/dev/null && exit 7; as 1234 cat $F/open; umount "$2"
                """, gallery)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        #expect(
            result.text == "secret\nown\nown\nopen\nopen\n65534\n1234\n1\n4755 0 0\n666 1 5\nopen\n", "\(result.text)")
    }

    @Test func `mount(8) asks for devices and set-user-ID, and gets neither`() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        let result = try Isolated.run(
            Self.guest + """
                for more in "" ,drop_privileges; do
                    mount -t fuse.rblockfs "$1" "$2" -o ro,files,allow_other,default_permissions$more || exit 1
                    as 1234 $F/bin/id -u; as 1234 head -c 1 $F/zero 2>/dev/null | wc -c; as 1234 cat $F/secret 2>/dev/null && exit 2
                    stat -c '%a %t %T' $F/bin/id $F/zero; getfattr -d -m security.capability --absolute-names $F/open | grep -c =0s
                    umount "$2"; for_long gone "$2"
                done
                """, gallery)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        // What another program has mounted may have both: then the mount shows neither.
        #expect(
            result.text == "1234\n0\n4755 0 0\n666 1 5\n1\n1234\n0\n755 0 0\n666 0 0\n0\n", "\(result.text)")
    }
}
