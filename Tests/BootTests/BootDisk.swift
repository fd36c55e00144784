import Foundation
import HostTools
import TestImages

extension BootKernel {
    /// Whether disks of tests may boot it.
    static var isThere: Bool {
        isThere(
            Tool.areThere("qemu-system-x86_64", "syslinux", "mcopy", "mkfs.vfat", "sfdisk", "cpio", "busybox", "bash"))
    }
}

/// A raw disk that a PC boots: a boot loader, one FAT file system, and on that a kernel, an initial RAM disk, and the file
/// `marker`, which it writes to the serial console before it turns the machine off. Where there is a file `answer` as well,
/// it writes the marker to that.
///
/// Nothing comes from anywhere but the disk, so that what boots has read the boot sector, the boot loader's blocks, the
/// file system and the files.
struct BootDisk {
    /// The raw disk.
    let path: String

    /// Makes the disk `name` in `folder`, whose marker is `marker`.
    init(_ name: String, marker: String, in folder: TemporaryFolder) throws {
        path = folder.file(name)
        try Shell.check(Self.script, BootKernel.folder, path, try folder.makeFolder("\(name).parts"))
        try write(marker: marker)
    }

    private init(path: String) {
        self.path = path
    }

    /// A copy of it, whose marker is `marker`, at `path`.
    func copy(to path: String, marker: String) throws -> BootDisk {
        try Tool.check("cp", "--sparse=always", self.path, path)
        let copy = BootDisk(path: path)
        try copy.write(marker: marker)
        return copy
    }

    private func write(marker: String) throws {
        try Shell.check("echo \"$2\" | mcopy -o -i \"$1@@1M\" - ::marker", path, marker)
    }

    /// Makes the disk $2 with the kernel in the folder $1, and leaves the parts in the folder $3. The modules stand in an
    /// order in which each finds what it needs.
    private static let script = #"""
        modules="virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk fat vfat nls_cp437 \
          nls_ascii"
        cd "$3"
        mkdir -p root/bin root/dev root/disk
        cp "$(command -v busybox)" root/bin/busybox
        for module in $modules; do find "$1/lib/modules" -name $module.ko -exec cp {} root/ ';'; done
        cat >root/init <<END
        #!/bin/busybox sh
        for module in $(echo $modules); do busybox insmod /\$module.ko; done
        busybox mount -t devtmpfs none /dev
        until [ -b /dev/vda1 ]; do busybox usleep 100000; done
        busybox mount -r -t vfat /dev/vda1 /disk
        busybox cat /disk/marker
        if [ -e /disk/answer ]; then
          busybox umount /disk
          busybox mount -t vfat /dev/vda1 /disk
          busybox cp /disk/marker /disk/answer
        fi
        busybox umount /disk
        busybox poweroff -f
        END
        chmod 755 root/init
        (cd root && find . | cpio -o -H newc --quiet) | gzip -1 >initrd
        cat >syslinux.cfg <<END
        serial 0 115200
        default linux
        label linux
          kernel vmlinuz
          initrd initrd
          append console=ttyS0 quiet panic=-1
        END
        truncate -s 40M "$2"
        echo 'start=2048, type=c, bootable' | sfdisk -q "$2"
        dd if=/usr/lib/syslinux/mbr/mbr.bin of="$2" conv=notrunc status=none
        mkfs.vfat --offset 2048 -F 16 "$2" 39936 >/dev/null
        mcopy -i "$2@@1M" "$1"/boot/vmlinuz-* ::vmlinuz
        mcopy -i "$2@@1M" initrd syslinux.cfg ::
        syslinux -t 1048576 --install "$2"
        """#
}

/// A PC that QEMU makes.
enum Machine {
    /// Boots from the disk in `image`, and answers what was written to the serial console until the machine was off. What
    /// it writes to the disk is forgotten unless it `isKept`.
    ///
    /// The processor is emulated: KVM, where a machine has it, may be one inside of another's that boot loaders fail in.
    static func boot(_ image: String, format: String, isKept: Bool = false) throws -> String {
        let result = try Tool.run(
            "qemu-system-x86_64",
            [
                "-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio",
                "-drive", "file=\(image),format=\(format),if=virtio,snapshot=\(isKept ? "off" : "on")",
            ], timeout: 300)
        guard result.status == 0 else {
            throw ToolFailure(description: "QEMU ended with \(result.status): \(result.text)\(result.errors)")
        }
        return result.text
    }
}
