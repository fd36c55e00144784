import Foundation
import HostTools
import TestImages
import Testing

/// `rblockfs --files`: the files of guests in the mount. The kernel's own reading of the same file system is the judge.
@Suite(
    "Files of guests in a mount",
    .enabled(
        if: Tool.canUseLoopDevices("mkfs.ext4", "mkfs.vfat", "mcopy", "sfdisk", "setfattr", "qemu-img", "debugfs", "jq")
    ))
struct GuestFilesTests {
    /// Where each file has data, by SEEK_DATA and SEEK_HOLE.
    private static let holes = """
        import os, sys
        def parts(path):
            found, file = [], os.open(path, os.O_RDONLY)
            size, at = os.fstat(file).st_size, 0
            while at < size:
                try: start = os.lseek(file, at, os.SEEK_DATA)
                except OSError as e: found.append(e.errno); break
                at = os.lseek(file, start, os.SEEK_HOLE); found.append((start, at))
            os.close(file); return found
        for folder, _, names in os.walk(os.fsencode(sys.argv[1])):
            for path in sorted(os.path.join(folder, name) for name in names):
                if os.path.isfile(path) and not os.path.islink(path):
                    print(path[len(sys.argv[1]):], os.lstat(path).st_blocks, parts(path))
        """

    @Test func `all is as the kernel has it: names, owners, times, attributes, links, content, holes`() throws {
        let images = try GuestImages()
        let mount = try Mount(images.path, options: ["--files"])
        let result = try images.compare(
            """
            F=\(mount.path); links() { grep -v -e "^b'/abs'" -e "^b'/home/out'"; }
            diff <(walk mnt | links) <(walk $F/root.raw/files | links); walk mnt | wc -l
            readlink $F/root.raw/files/abs $F/root.raw/files/home/out $F/root.raw/files/home/link
            cat > holes.py <<'END'
            \(Self.holes)
            END
            diff <(python3 holes.py mnt | sort) <(python3 holes.py $F/root.raw/files | sort)
            stat -f -c '%b %f %a %c %d' mnt > a; stat -f -c '%b %f %a %c %d' $F/root.raw/files/etc > b
            [ "$(stat -f -c %S mnt)" = "$(stat -f -c %S $F/root.raw/files)" ]; diff a b
            # What the guest mounts is in its tree, and on its partition alone: the kernel need not have it for that.
            own() { links | grep -v "^b'/boot"; }
            for image in disk.qcow2 disk.vmdk disk.qcow2/snapshots/daily; do
                diff <(walk mnt | own) <(walk $F/$image/files | own)
                diff -r fat $F/$image/files/boot; diff -r fat $F/$image/partitions/p1
            done
            diff <(walk mnt | links) <(walk $F/disk.qcow2/partitions/p2 | links)
            """)
        let lines = result.text.split(separator: "\n").map(String.init)
        #expect(
            result.status == 0 && Array(lines.dropFirst()) == ["home", "../etc/passwd", "../etc/hostname"],
            "\(result.text)\(result.errors)")
        #expect((Int(lines.first ?? "") ?? 0) > 70)
    }

    @Test func `tar, cp, find and diff read it, and many threads at once`() throws {
        let images = try GuestImages()
        let mount = try Mount(images.path, options: ["-o", "files"])
        let result = try images.compare(
            """
            F=\(mount.path)/root.raw/files; links() { grep -v -e "^b'/abs'" -e "^b'/home/out'"; }
            tar -C $F --xattrs --sparse -c . | tar -x --xattrs --xattrs-include='*' -p --numeric-owner -C out
            diff <(walk mnt | links) <(walk out | links)
            rm -rf out; cp -a --sparse=always $F out; diff <(walk mnt | links) <(walk out | links)
            [ $(du -k out/var/sparse | cut -f1) -lt 100 ]
            diff -r --no-dereference -x fifo -x null -x disk -x abs -x out mnt $F
            diff <(cd mnt; find . -printf '%p %y %n\\n' | sort) <(cd $F; find . -printf '%p %y %n\\n' | sort)
            # Hard links have one number.
            [ $(stat -c %i $F/etc/hostname) = $(stat -c %i $F/home/second) ]
            sums() { (cd "$1"; find . -type f -print0 | sort -z | xargs -0 -P 8 -n 3 sha256sum | sort); }
            diff <(sums mnt) <(sums $F)
            """)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
    }

    @Test func `nothing can be changed, and no device and no pipe of a guest is one of the host`() throws {
        let images = try GuestImages()
        let mount = try Mount(images.path, options: ["--files", "-o", "dev,suid"])
        let sums = try Shell.check("cd \"$1\" && sha256sum *.raw *.qcow2", images.path)
        let script = """
            F = sys.argv[1] + '/root.raw/files'
            for what, call in (('new', lambda: open(F + '/etc/new', 'w')), ('write', lambda: open(F + '/etc/hostname', 'r+')),
                ('chmod', lambda: os.chmod(F + '/etc/hostname', 0o777)), ('mkdir', lambda: os.mkdir(F + '/new')),
                ('unlink', lambda: os.unlink(F + '/etc/hostname')), ('link', lambda: os.link(F + '/etc/hostname', F + '/new')),
                ('rename', lambda: os.rename(F + '/etc', F + '/new')), ('truncate', lambda: os.truncate(F + '/etc/hostname', 0)),
                ('xattr', lambda: os.setxattr(F + '/etc/hostname', 'user.new', b'1')), ('utime', lambda: os.utime(F + '/etc')),
                ('symlink', lambda: os.symlink('x', F + '/new')), ('mknod', lambda: os.mkfifo(F + '/new'))):
                is_(what, says(call), 'EROFS')
            is_('null', says(open, F + '/var/null'), 'EACCES'); is_('disk', says(open, F + '/var/disk', 'rb'), 'EACCES')
            # A pipe is one of the kernel's, between those who open it: without a writer there is nothing in it.
            pipe = os.open(F + '/var/fifo', os.O_RDONLY | os.O_NONBLOCK); is_('pipe', os.read(pipe, 1), b''); os.close(pipe)
            is_('hostname', contents(F + '/etc/hostname'), b'guest\\n')
            """
        #expect(try Python.run(script, mount.path) == "")
        let options = try Shell.check("findmnt -n -o OPTIONS \"$1\"", mount.path).split(separator: ",")
        #expect(options.contains("nosuid") && options.contains("nodev"), "\(options)")
        try Tool.check("mount", "-i", "-o", "remount,rw", mount.path)
        #expect(try Python.run(script, mount.path) == "")
        try mount.unmount()
        #expect(try Shell.check("cd \"$1\" && sha256sum *.raw *.qcow2", images.path) == sums)
    }

    @Test func `a guest is not looked at before its image is, and stats.json lists its file systems`() throws {
        let images = try GuestImages()
        let mount = try Mount(images.path, options: ["--files"])
        func opened() throws -> Int {
            Int(try Shell.check("jq '.rblock.\"open-images\"' \"$1\"/stats.json", mount.path)) ?? -1
        }
        _ = try Shell.check("ls -l \"$1\"", mount.path)
        #expect(try opened() == 0)
        let files = try mount.document("disk.vmdk")["rblock", "files"]
        #expect(files?.array?.map { $0["type"]?.text } == ["vfat", "ext4"], "\(String(describing: files))")
        #expect(files?.array?[1]["used"] != nil && files?.array?[1]["label"]?.text == "root")
        #expect(try opened() == 1)
        let plain = try Mount(images.path)
        #expect(try plain.document("disk.vmdk")["rblock", "files"] == nil)
        #expect(
            try Shell.check("ls \"$1\"/disk.vmdk \"$1\"/disk.vmdk/partitions | xargs", plain.path).contains("files")
                == false)
    }

    @Test func `what cannot be read is said in a file, and damage is an error for that file alone`() throws {
        let images = try GuestImages()
        try Shell.check(
            """
            cd "$1"; mkdir m; cp root.raw m/good.raw; cp root.raw m/bad.raw; cp disk.raw m/parts.raw; cp root.raw m/dir.raw
            printf '\\377' | dd of=m/bad.raw bs=1 seek=1048 conv=notrunc status=none
            printf '\\377' | dd of=m/parts.raw bs=1 seek=$(((33 << 20) + 1560)) conv=notrunc status=none
            truncate -s 4M m/none.raw; truncate -s 4M m/xfs.raw; printf XFSB | dd of=m/xfs.raw conv=notrunc status=none
            block() { debugfs -R "blocks $1" m/dir.raw 2>/dev/null | cut -d' ' -f1; }
            dd if=/dev/urandom of=m/dir.raw bs=1024 count=1 seek=$(block /home/me) conv=notrunc status=none
            """, images.path)
        let mount = try Mount(images.folder.file("m"), options: ["--files"])
        let result = try Shell.run(
            """
            cd "$1"; ls bad.raw none.raw xfs.raw parts.raw parts.raw/partitions | grep -e files -e p; wc -l <bad.raw/files.error
            cat bad.raw/files.error parts.raw/partitions/p2.error
            jq -r '.rblock.files[0].type' xfs.raw/stats.json; jq -c '[.rblock.files[] | .error.code]' parts.raw/stats.json
            ls dir.raw/files/home/me && exit 9; cat dir.raw/files/home/me/f1 && exit 9; cat dir.raw/files/home/second
            cat good.raw/files/home/me/f1; ls dir.raw/files/home/me 2>&1 | grep -c 'Input/output'
            jq '.rblock.counters."read-errors" > 0' dir.raw/stats.json
            """, mount.path)
        let lines = result.text.split(separator: "\n").map(String.init)
        #expect(result.status == 0, "\(result.text)\(result.errors)")
        let parts = lines.drop { $0 != "parts.raw/partitions:" }.dropFirst().prefix(4)
        #expect(Array(parts) == ["p1", "p1.raw", "p2.error", "p2.raw"], "\(lines)")
        #expect(lines.filter { $0 == "files.error" }.count == 4 && !lines.contains("files"), "\(lines)")
        #expect(lines.contains("xfs") && lines.contains("[null,\"corrupt\"]"), "\(lines)")
        #expect(lines.suffix(4) == ["guest", "1", "1", "true"], "\(lines)")
        #expect(lines.contains { $0.contains("bad.raw") && $0.contains("superblock") }, "\(lines)")
    }

    @Test func `a directory of 140,000 names is listed whole, by a server that does not keep it`() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; mkdir images mnt; mkfs.ext4 -q -N 100 images/many.raw 32M
            unshare -m --propagation private bash -ec 'mount -o loop images/many.raw mnt; mkdir mnt/many; cd mnt/many; python3 -c "$0"' '
            import os
            for index in range(140000):
                if index % 50000 == 0: first = "name-%d" % index; open(first, "w").close()
                else: os.link(first, "name-%d" % index)
            '
            """, folder.path)
        let mount = try Mount(folder.file("images"), options: ["--files"])
        let printed = try Python.run(
            """
            top = sys.argv[1] + '/many.raw/files/many'
            names = os.listdir(top)
            is_('names', len(names), 140000); is_('different', set(names), {'name-%d' % index for index in range(140000)})
            is_('one', contents(top + '/name-139999'), b'')
            # Back to a place in the middle, from behind it and from before it.
            libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
            libc.telldir.restype = ctypes.c_long; libc.telldir.argtypes = libc.readdir.argtypes = [ctypes.c_void_p]
            libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
            stream = libc.opendir(top.encode())
            def name(): return ctypes.string_at(libc.readdir(stream) + 19)
            for _ in range(70000): name()
            place = libc.telldir(stream); middle = name()
            for _ in range(69000): name()
            libc.seekdir(stream, place); is_('middle', name(), middle)
            libc.seekdir(stream, 0); is_('start', name() in (b'.', b'..'), True)
            libc.seekdir(stream, place); is_('again', name(), middle)
            """, mount.path)
        #expect(printed == "")
        #expect(try mount.memory("VmHWM") < 150_000)
    }
}
