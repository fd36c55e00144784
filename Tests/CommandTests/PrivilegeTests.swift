import Foundation
import HostTools
import TestImages
import Testing

@Suite("Privileges", .enabled(if: Isolated.isThere))
struct PrivilegeTests {
    /// The options, and the user that the server is afterwards.
    static let ways = [("--drop-privileges", 0), ("-o drop_privileges", 0), ("--user nobody", 65534)]

    @Test("Once the mount answers, the server may read all files, and nothing else", arguments: ways)
    func rights(options: String, user: Int) throws {
        let gallery = try Gallery(["plain.qcow2", "zlib.qcow2"], seed: 1)
        let result = try Isolated.run(
            """
            rblockfs $5 "$1" "$2" || exit 1
            server=$(server); chmod 700 "$1"; chown 1000:1000 "$1"/*; chmod 400 "$1"/*
            for name in plain zlib; do cmp "$3" "$2/$name.qcow2/disk.raw" || exit 2; done
            for set in Uid Gid Inh Prm Eff Bnd Amb NoNewPrivs; do
                cat /proc/$server/task/*/status | grep -E "^(Cap)?$set:" | cut -f 1,2 | sort -u
            done
            cat "/sys/class/bdi/$(mountpoint -d "$2")/read_ahead_kb"; umount "$2"; for_long ended $server
            """, gallery, options)
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
        // CAP_DAC_READ_SEARCH is the bit 2 (linux/capability.h).
        let (none, one) = ("0000000000000000", "0000000000000004")
        #expect(
            result.text == """
                Uid:\t\(user)\nGid:\t\(user)\nCapInh:\t\(none)\nCapPrm:\t\(one)\nCapEff:\t\(one)\nCapBnd:\t\(one)
                CapAmb:\t\(none)\nNoNewPrivs:\t1\n1024\n
                """)
    }

    @Test(
        "When the server is ended, nothing stays mounted, also where a file is open",
        arguments: ["TERM", "INT", "umount"], [false, true])
    func end(how: String, isForeground: Bool) throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 2)
        for (options, _) in Self.ways {
            let result = try Isolated.run(
                """
                if [ $6 = true ]; then
                    set -m; rblockfs -f $7 "$1" "$2" & for_long mounted "$2"; for_long [ -e "$2/plain.qcow2" ]
                    server=$!
                else rblockfs $7 "$1" "$2" || exit 1; server=$(server); fi
                exec 5<"$2/plain.qcow2/disk.raw"; head -c 4096 <&5 | cmp -n 4096 - "$3" || exit 2
                case $5 in umount) exec 5<&-; umount "$2";; *) kill -$5 $server;; esac || exit 3
                for_long ended $server
                gone "$2" || exit 4
                ls -A "$2"
                """, gallery, how, "\(isForeground)", options)
            #expect(result.status == 0 && result.text == "", "\(options): \(result.text)\(result.errors)")
        }
    }

    @Test("A folder of overlays in which the server cannot write, as whom it has become, ends it")
    func overlays() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 5)
        for (options, user) in Self.ways {
            let result = try Isolated.run(
                """
                mkdir -m 755 "$4/o"; chown 1000 "$4/o"
                rblockfs $5 --overlay "$4/o" "$1" "$2"; echo $?; gone "$2" || exit 2
                rblockfs $5 -o ro --overlay "$4/o" "$1" "$2" || exit 3; server=$(server); umount "$2"; for_long ended $server
                chmod 777 "$4/o"; rblockfs $5 --overlay "$4/o" "$1" "$2" || exit 4; server=$(server)
                printf x | dd of="$2/plain.qcow2/disk.raw" conv=notrunc status=none || exit 5
                umount "$2"; for_long ended $server; ls "$4/o"
                """, gallery, options)
            #expect(result.status == 0 && result.text == "77\nplain.qcow2.overlay.qcow2\n", "\(options): \(result)")
            #expect(
                result.errors.contains("user \(user), as whom the server runs, cannot make overlays there"),
                "\(result.errors)")
        }
    }

    @Test("The helper that unmounts does not keep who waits for output")
    func output() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 3)
        let result = try Isolated.run(
            """
            said=$(timeout 20 rblockfs --drop-privileges "$1" "$2" 2>&1); echo "$?[$said]"; umount "$2"
            """, gallery)
        #expect(result.status == 0 && result.text == "0[]\n", "\(result.errors)")
    }

    @Test("A user who does not exist, and one whom the process cannot become, end it before it mounts")
    func wrongUser() throws {
        let gallery = try Gallery(["plain.qcow2"], seed: 4)
        let result = try Isolated.run(
            """
            rblockfs --user no-such-user "$1" "$2"; echo $?; rblockfs -o setuid=no-such-user "$1" "$2"; echo $?
            rblockfs --user 3999999999 "$1" "$2"; echo $?
            setpriv --reuid 65534 --regid 65534 --clear-groups rblockfs --user daemon "$1" "$2"; echo $?
            gone "$2"
            """, gallery)
        #expect(result.status == 0 && result.text == "64\n64\n77\n77\n", "\(result.text)\(result.errors)")
    }
}
