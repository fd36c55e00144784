import Foundation
import HostTools
import TestImages
import Testing

/// Children of VHD and VDI, which QEMU does not read, on every surface.
@Suite(.enabled(if: Tool.canMount("nbdcopy", "cmp", "jq")))
struct `A differencing disk` {
    /// A folder `images` with chains of three, and the disks that they are; the base of the VHDs was renamed.
    private func makeImages(in folder: TemporaryFolder) throws {
        _ = try folder.makeFolder("images/Snapshots")
        var random = SeededRandom(seed: 4)
        let size = 3 << 20
        var (base, disk) = VHDBuilder.random(kind: 3, size: size, blockSize: 65536, over: [], using: &random)
        try folder.write(base.build().bytes, to: "images/renamed.vhd")
        for level in 1...2 {
            var (child, above) = VHDBuilder.random(kind: 4, size: size, blockSize: 65536, over: disk, using: &random)
            child.identity = [UInt8](repeating: UInt8(level), count: 16)
            child.parent = (level == 1 ? base.identity : [UInt8](repeating: 1, count: 16), 0, "C:\\VMs\\gone.vhd")
            try folder.write(child.build().bytes, to: level == 1 ? "images/middle.avhd" : "images/top.vhd")
            (disk, above) = (above, [])
        }
        try folder.write(disk, to: "vhd.raw")
        base.identity = [UInt8](repeating: 9, count: 16)
        base.kind = 4
        base.parent = ([UInt8](repeating: 77, count: 16), 0, ".\\renamed.vhd")
        try folder.write(base.build().bytes, to: "images/orphan.vhd")

        func block(_ byte: UInt8) -> VDIBuilder.Block { .data([UInt8](repeating: byte, count: 4096)) }
        var vdi = VDIBuilder(size: 4 * 4096)
        vdi.blocks = [block(1), block(2), block(3), .free]
        try folder.write(vdi.build(), to: "images/disk.vdi")
        vdi.kind = 4
        vdi.parent = (vdi.identity, vdi.modification)
        vdi.identity = Array(40...55)
        vdi.blocks = [.free, block(5), .zero, .free]
        try folder.write(vdi.build(), to: "images/Snapshots/{a}.vdi")
        let disks = [1, 5, 0, 0].flatMap { [UInt8](repeating: $0, count: 4096) }
        try folder.write(disks, to: "vdi.raw")
    }

    @Test func `is its disk in the verbs, the mount and the servers`() throws {
        let folder = try TemporaryFolder()
        try makeImages(in: folder)
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let seen = try Shell.check(
            """
            cd "$2"; bin=$(dirname "$1"); export PATH=$bin:$PATH
            for image in top.vhd:vhd Snapshots/{a}.vdi:vdi; do
              name=${image%:*}; disk=${image#*:}.raw
              rblock read "images/$name" --allow-path images | cmp - "$disk"
              rblock convert --allow-path images "images/$name" copy.qcow2; rblock diff copy.qcow2 "$disk"; rm copy.qcow2
              rblock info --allow-path images --backing-chain --output json "images/$name" | jq -c 'map(.format)'
              rblock check --allow-path images "images/$name" >/dev/null && echo sound
              rblock map --allow-path images --output json "images/$name" | jq -c 'map(.depth) | max'
            done
            rblock read images/orphan.vhd >/dev/null 2>errors || grep -o 'parent unique id: is [4d-]*' errors
            rblock read --ignore-parent-id images/orphan.vhd 2>errors | wc -c
            rblock check images/orphan.vhd || echo check: $?
            rblock serve --nbd unix:nbd images 2>log & server=$!
            for i in {1..300}; do test -S nbd && break; sleep 0.1; done
            nbdcopy 'nbd+unix:///top.vhd?socket=nbd' nbd.raw; cmp nbd.raw vhd.raw
            kill $server; wait $server || true
            rblockfs images mnt
            cmp mnt/top.vhd/disk.raw vhd.raw; cmp "mnt/Snapshots/{a}.vdi/disk.raw" vdi.raw
            cmp mnt/top.vhd/layers/1.raw mnt/middle.avhd/disk.raw && echo layers
            jq -c '[.error.code, .error.hint]' mnt/orphan.vhd/stats.json
            fusermount3 -u mnt
            """, Tool.rblock, folder.path)
        let expected = """
            ["vpc","vpc","vpc"]
            2
            ["vdi","vdi"]
            1
            sound
            parent unique id: is 4d4d4d4d-4d4d-4d4d-4d4d-4d4d4d4d4d4d
            3145728
            check: 2
            layers
            ["corrupt","--ignore-parent-id reads it all the same"]
            """
        for line in expected.split(separator: "\n") { #expect(seen.contains(line), "\(line): \(seen)") }
    }
}
