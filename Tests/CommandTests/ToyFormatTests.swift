import Foundation
import HostTools
import TestImages
import Testing

/// A format, and one of containers, that come with a driver and a line that adds it (Tests/ToyFormat), and nothing else.
@Suite(.enabled(if: Tool.canMount("qemu-img", "nbdcopy", "cmp")))
struct `A format of its own` {
    @Test func `is on every surface what the built-in ones are`() throws {
        let folder = try TemporaryFolder()
        _ = try folder.makeFolder("images")
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let seen = try Shell.check(
            """
            cd "$2"; toy=$(dirname "$1")/rblock-toy; PATH=$PATH:/usr/sbin
            python3 - <<END
            import os, struct
            blocks = [os.urandom(4096) for _ in range(300)]
            blocks[7] = bytes(4096)
            open('disk.raw', 'wb').write(b''.join(blocks))
            header = (b'TOYDISK\\n' + struct.pack('<I', 300)).ljust(4096, b'\\0')
            open('images/a.toy', 'wb').write(header + b''.join(reversed(blocks)))
            open('images/short.toy', 'wb').write(header)
            box = b'TOYBOX\\n'
            for name, bytes in (('first.toy', header + b''.join(reversed(blocks))), ('second.raw', bytes(4096))):
                box += struct.pack('<32sQ', name.encode(), len(bytes)) + bytes
            open('images/two.toybox', 'wb').write(box)
            END
            cp images/a.toy images/unnamed.img
            set -e
            "$toy" info --output json images/a.toy | jq -c '[.format, ."virtual-size", ."cluster-size"]'
            "$toy" info --output json images/unnamed.img | jq -c '[.format, .rblock.probed]'
            "$toy" map --output json images/a.toy | jq -c '[length, (map(.length) | add), .[0].offset]'
            test "$("$toy" hash images/a.toy | cut -c 1-64)" = "$(sha256sum <disk.raw | cut -c 1-64)"
            "$toy" read images/a.toy | cmp - disk.raw
            "$toy" convert images/a.toy copy.qcow2; qemu-img compare -f raw -F qcow2 disk.raw copy.qcow2
            "$toy" diff images/a.toy disk.raw && echo same
            "$toy" check images/a.toy || echo check: $?
            "$toy" inspect images/a.toy 2>errors || echo inspect: $?
            "$toy" create images/new.toy 1M 2>errors || { echo create: $?; cat errors; }
            "$toy" read images/short.toy >/dev/null 2>errors || { echo read: $?; cat errors; }
            "$toy" serve --nbd unix:nbd --rpc unix:rpc images 2>log & server=$!
            for i in {1..300}; do test -S rpc && test -S nbd && break; sleep 0.1; done
            nbdcopy 'nbd+unix:///two.toybox/first.toy?socket=nbd' nbd.raw; cmp nbd.raw disk.raw
            "$toy" rpc --raw rpc read image=two.toybox/first.toy offset=0 length=8192 | cmp -n 8192 - disk.raw
            nbdcopy 'nbd+unix:///a.toy?socket=nbd' nbd.raw; cmp nbd.raw disk.raw
            "$toy" rpc --raw rpc read image=a.toy offset=0 length=8192 | cmp -n 8192 - disk.raw
            kill $server; wait $server || true
            RBLOCK_TOY=mount "$toy" images mnt
            cmp mnt/a.toy/disk.raw disk.raw; jq -c '[.format]' mnt/a.toy/stats.json; ls mnt
            cmp mnt/two.toybox/first.toy/disk.raw disk.raw
            jq -c '[.format, .toybox, .error]' mnt/two.toybox/stats.json
            fusermount3 -u mnt
            "$toy" info --output json images/two.toybox | jq -c '[.format, .toybox, .filename]'
            "$toy" info images/two.toybox/first.toy | grep format
            "$toy" read images/two.toybox/first.toy | cmp - disk.raw
            "$toy" hash images/two.toybox/second.raw
            "$toy" check images/two.toybox || echo box: $?
            "$toy" read images/two.toybox 2>errors || cat errors
            """, Tool.rblock, folder.path)
        let expected = """
            ["toy",1228800,4096]
            ["toy",true]
            [300,1228800,1228800]
            Images are identical.
            same
            check: 63
            inspect: 1
            create: 64
            toy images can be read, and not made; qcow2, vmdk, vpc, vdi, vhdx and raw can
            read: 1
            ["toybox",{"count":2},null]
            ["toybox",{"count":2},"images/two.toybox"]
            file format: toy
            ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7  images/two.toybox/second.raw
            box: 63
            the toy box has several disks, of which one must be named
            """
        for line in expected.split(separator: "\n") { #expect(seen.contains(line), "\(seen)") }
        #expect(seen.contains("past the end of the file") && seen.contains("unnamed.img"), "\(seen)")
    }
}
