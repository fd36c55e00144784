import HostTools

/// A disk with two file systems, a FAT and an ext4 that mounts it on /boot, as an image of several formats; and a folder with the
/// same files.
package struct GuestImages {
    /// Where all lies.
    package let folder: TemporaryFolder
    /// The folder.
    package var path: String { folder.path }
    /// What lies in the ext4 and, below boot, in the FAT.
    package var tree: String { folder.file("tree") }

    /// Makes them.
    package init() throws {
        folder = try TemporaryFolder()
        try Shell.check(
            #"""
            cd "$1"; mkdir -p tree/etc tree/usr/bin tree/home/me/deep tree/var tree/boot
            printf '%s\n' '# a comment' 'LABEL=root / ext4 defaults 0 1' '/dev/vda1 /boot vfat defaults 0 2' \
              'UUID=00000000-0000-0000-0000-000000000001 /data\040two xfs nofail 0 0' \
              '/dev/sr0 /media iso9660 noauto 0 0' 'tmpfs /tmp tmpfs defaults 0 0' >tree/etc/fstab
            echo guest >tree/etc/hostname; ln -s ../etc/hostname tree/home/link; ln -s /home tree/abs; ln -s loop tree/loop
            ln -s ../../../../etc/passwd tree/home/out; ln tree/etc/hostname tree/home/second
            head -c 3000001 /dev/urandom >tree/var/big; truncate -s 40M tree/var/sparse
            printf x | dd of=tree/var/sparse bs=1 seek=20M conv=notrunc status=none
            mkfifo tree/var/fifo; mknod tree/var/null c 1 3; mknod tree/var/disk b 259 300
            for i in $(seq 50); do echo $i >tree/home/me/f$i; done; echo dot >tree/home/.hidden
            chmod 4755 tree/usr/bin; chmod 1640 tree/home/me/f1; chown 1000:2000 tree/home/me/f2; chown 4000000:5 tree/home/me/f3
            touch -d '2001-02-03 04:05:06.123456789Z' tree/home/me/f4; touch -d '1969-12-31 23:59:58.5Z' tree/home/me/f5
            setfattr -n user.mine -v yes tree/etc/hostname; setfattr -n trusted.two -v "$(printf 'a\nb')" tree/home/me
            name=$(printf 'n%.0s' $(seq 200)); echo long >"tree/home/$name"; echo new >"$(printf 'tree/home/new\nline')"
            ln -s "$name$name" tree/home/longlink
            mkfs.ext4 -q -L root -d tree root.raw 96M
            mkdir fat; echo boot >fat/grub.cfg; mkfs.vfat -n EFI -C boot.raw 32768 >/dev/null; mcopy -i boot.raw fat/grub.cfg ::
            cp fat/grub.cfg tree/boot/
            truncate -s 140M disk.raw; printf '%s\n' 'label: gpt' 'start=2048,size=65536,type=uefi,name=efi' \
              'start=67584,size=196608,type=linux,name=system' | sfdisk -q disk.raw
            dd if=boot.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
            dd if=root.raw of=disk.raw bs=1M seek=33 conv=notrunc,sparse status=none
            qemu-img convert -O qcow2 disk.raw disk.qcow2; qemu-img convert -O vmdk disk.raw disk.vmdk
            qemu-img snapshot -c daily disk.qcow2
            """#, folder.path)
    }

    /// A program of Python that prints all that is known of the files below a directory, but for the sizes of directories; of a
    /// second argument, without the number of names and extended attributes.
    package static let walk = """
        import hashlib, os, stat, sys
        top = os.fsencode(sys.argv[1])
        def tell(path):
            s = os.lstat(path)
            said = [path[len(top):], stat.filemode(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, s.st_rdev]
            if not stat.S_ISDIR(s.st_mode): said.append(s.st_size)
            if stat.S_ISLNK(s.st_mode): said.append(os.readlink(path))
            if stat.S_ISREG(s.st_mode): said.append(hashlib.sha256(open(path, 'rb').read()).hexdigest())
            if len(sys.argv) < 3:
                said += [s.st_nlink] + sorted((n, os.getxattr(path, n, follow_symlinks=False)) for n in os.listxattr(path, follow_symlinks=False))
            print(*map(repr, said))
        tell(top)
        for folder, folders, files in os.walk(top):
            folders.sort()
            for name in sorted(folders + files): tell(os.path.join(folder, name))
        """

    /// `rblock`, in the folder.
    package func run(_ arguments: String...) throws -> ToolResult { try RBlock.run(arguments, in: path) }

    /// Runs a program of bash in the folder, with `rblock` as $R, `walk`, and the ext4 mounted at mnt, as its kernel shows it.
    package func compare(_ script: String) throws -> ToolResult {
        try Tool.run(
            "unshare",
            [
                "-m", "--propagation", "private", "bash", "-ec",
                """
                cd "$1"; R=$2; P=$3 ; mkdir -p mnt out; cp --sparse=always root.raw copy.raw; mount -o loop,noatime copy.raw mnt
                trap 'umount -R mnt' EXIT; walk() { python3 -c "$P" "$@"; }
                \(script)
                """, "bash", path, Tool.rblock, Self.walk,
            ])
    }
}
