import Foundation
import HostTools
import TestImages

/// A Linux with FAT, exFAT and ISO 9660 that QEMU boots: the kernel of the machine that tests run on may have none of them.
enum GuestLinux {
    /// Whether tests that boot it may run.
    static var isThere: Bool {
        BootKernel.isThere(
            Tool.areThere("qemu-system-x86_64", "cpio", "busybox", "ldd", "stat", "mkfs.vfat", "mkfs.exfat", "blkid"))
    }

    /// Runs `script` there, as root, with the raw `disks` as /dev/vda and so on; answers the folder, in `folder`, with what it
    /// left in /out.
    static func run(_ script: String, disks: [String], in folder: TemporaryFolder) throws -> String {
        let out = try folder.makeFolder("out")
        let tar = folder.file("out.tar")
        try Tool.check("truncate", "-s", "64M", tar)
        try folder.write(Array(script.utf8), to: "script")
        try Shell.check(initrd, BootKernel.folder, try folder.makeFolder("initrd"), folder.file("script"))
        let drives = (disks + [tar]).flatMap { ["-drive", "file=\($0),format=raw,if=virtio"] }
        let result = try Tool.run(
            "qemu-system-x86_64",
            [
                "-accel", "tcg", "-m", "512", "-nodefaults", "-no-reboot", "-display", "none",
                "-serial",
                "stdio", "-kernel", try Shell.check("echo \"$1\"/boot/vmlinuz-*", BootKernel.folder), "-initrd",
                folder.file("initrd/initrd"), "-append", "console=ttyS0 quiet panic=-1",
            ] + drives, timeout: 1200)
        guard result.status == 0, result.text.contains("all is done") else {
            throw ToolFailure(description: "QEMU ended with \(result.status): \(result.text)\(result.errors)")
        }
        try Tool.check("tar", "-xf", tar, "-C", out)
        return out
    }

    /// Makes the initial RAM disk in the folder $2, of the kernel in the folder $1 and the script $3. The modules stand in an
    /// order in which each finds what it needs. stat is GNU's: busybox's knows no time when a file was made.
    private static let initrd = #"""
        modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk fat vfat exfat \
          nls_cp437 nls_ascii nls_utf8 cdrom isofs"
        cd "$2"
        mkdir -p root/bin root/dev root/proc root/m root/out
        cp "$(command -v busybox)" root/bin/busybox
        for module in $modules; do find "$1/lib/modules" -name $module.ko -exec cp {} root/ ';'; done
        stat=$(readlink -f "$(command -v stat)")
        cp "$stat" root/bin/gnustat
        for library in $(ldd "$stat" | grep -o '/[^ ]*'); do
          mkdir -p "root/$(dirname $library)"
          cp -L $library root/$library
        done
        cp "$3" root/script
        cat >root/init <<END
        #!/bin/busybox sh
        /bin/busybox --install -s /bin
        export PATH=/bin TZ=UTC
        for module in $(echo $modules); do insmod /\$module.ko; done
        mount -t devtmpfs none /dev
        mount -t proc none /proc
        until [ -b /dev/vda ]; do usleep 100000; done
        if sh -e /script; then
          tar -cf /dev/\$(ls /dev | grep '^vd.\$' | tail -n 1) -C /out . && sync && echo all is done
        fi
        poweroff -f
        END
        chmod 755 root/init
        (cd root && find . | cpio -o -H newc --quiet) | gzip -1 >initrd
        """#
}
