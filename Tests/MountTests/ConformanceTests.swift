import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "What POSIX and Linux promise of files holds for a mount",
    .enabled(if: Tool.canMount("qemu-img", "python3", "setpriv")))
struct ConformanceTests {
    /// A mount of `disk.qcow2`, compressed, and the raw disk that it was made of: 3 MiB of data with a hole of 1 MiB and
    /// an end that is no multiple of a page.
    final class Sample {
        let folder: TemporaryFolder
        let images: String
        let raw: String
        let mount: Mount

        init() throws {
            folder = try TemporaryFolder()
            images = try folder.makeFolder("images")
            raw = folder.file("disk")
            try Shell.check(
                """
                cd "$1"; head -c 4196864 /dev/urandom >disk; fallocate -p -o 1M -l 1M disk
                qemu-img convert -f raw -O qcow2 -c disk images/disk.qcow2; chmod 755 . images; chmod 644 disk
                """, folder.path)
            mount = try Mount(images, options: Tool.isRoot ? ["-o", "allow_other"] : [])
            try Shell.check("chmod 755 \"$1/..\"", mount.path)
        }

        /// Runs `program` with the disk as D, its folder as F, the root as R and the raw disk's bytes as W: it prints
        /// what is wrong.
        func check(_ program: String, isOrdinary: Bool = false) throws {
            let names = "R, F, D = sys.argv[1:4]; W = contents(sys.argv[4]); size = len(W)\n"
            let printed = try Python.run(
                names + program, mount.path, mount.file("disk.qcow2"), mount.disk("disk.qcow2"), raw,
                isOrdinary: isOrdinary)
            #expect(printed == "")
            #expect(mount.isServing)
        }
    }

    /// Whether to be an ordinary user: only root can choose.
    static let users = Tool.isRoot ? [false, true] : [false]

    @Test("stat, fstat, statx and statvfs agree with each other", arguments: users)
    func attributes(isOrdinary: Bool) throws {
        let sample = try Sample()
        try sample.check(
            """
            fd = os.open(D, os.O_RDONLY); a, b = os.stat(D), os.fstat(fd)
            is_('fstat', [getattr(a, n) for n in dir(a) if n.startswith('st_')],
                [getattr(b, n) for n in dir(b) if n.startswith('st_')])
            is_('size', a.st_size, size); is_('links', a.st_nlink, 1); is_('mode', oct(a.st_mode), '0o100444')
            is_('device', a.st_dev, os.stat(R).st_dev); is_('root', os.stat(R).st_ino, 1)
            is_('.', os.stat(F + '/.').st_ino, os.stat(F).st_ino); is_('..', os.stat(F + '/..').st_ino, 1)
            is_('lstat', os.lstat(D), a); is_('slash', says(os.stat, D + '/'), 'ENOTDIR')
            # struct statx: the mask, block size, attributes, links, owner, group, mode, inode, size, blocks, …
            x = (ctypes.c_ubyte * 256)(); BASIC = 0x7ff
            is_('statx', libc.statx(-100, D.encode(), 0, BASIC, x), 0); x = bytes(x)
            word = lambda offset, count: int.from_bytes(x[offset:offset + count], 'little')
            is_('mask', word(0, 4) & BASIC, BASIC)
            is_('statx fields', [word(4, 4), word(16, 4), word(20, 4), word(24, 4), word(28, 2)],
                [a.st_blksize, a.st_nlink, a.st_uid, a.st_gid, a.st_mode])
            is_('statx numbers', [word(32, 8), word(40, 8), word(48, 8)], [a.st_ino, a.st_size, a.st_blocks])
            v = os.statvfs(D)
            is_('statvfs', [v.f_bsize, v.f_bfree, v.f_bavail, v.f_ffree, v.f_namemax], [4096, 0, 0, 0, 255])
            is_('read-only', v.f_flag & os.ST_RDONLY, os.ST_RDONLY); is_('nosuid', v.f_flag & os.ST_NOSUID, os.ST_NOSUID)
            """, isOrdinary: isOrdinary)
        #expect(try Shell.check("df --output=target,iavail,avail \"$1\" | tail -n 1", sample.mount.path).contains("0"))
    }

    @Test("Names that nothing has are told from those that nothing can have")
    func names() throws {
        try Sample().check(
            """
            for folder in [R, F]:
                for name, answer in [(b'x' * 255, 'ENOENT'), (b'x' * 256, 'ENAMETOOLONG'), (b'x' * 1000, 'ENAMETOOLONG'),
                    (b'x' * 4000, 'ENAMETOOLONG'), (b'\\xff\\xfe', 'ENOENT'), (b'a\\nb', 'ENOENT'), (b' ', 'ENOENT'),
                    (b'...', 'ENOENT'), (b'disk.raw/x', 'ENOTDIR' if folder == F else 'ENOENT'), (b'\\\\', 'ENOENT'),
                    (b'.', None), (b'..', None), (b'', None), (b'./../' + os.path.basename(folder.encode()), None)]:
                    path = folder.encode() + b'/' + name
                    is_(path, says(os.stat, path), answer); is_(path, says(os.open, path, os.O_RDONLY), answer)
            is_('empty', says(os.stat, ''), 'ENOENT')
            """)
    }

    @Test("What is read by pread, mmap, O_DIRECT, sendfile and splice are the same bytes", arguments: users)
    func reading(isOrdinary: Bool) throws {
        try Sample().check(
            """
            fd = os.open(D, os.O_RDONLY)
            for kind in [mmap.MAP_SHARED, mmap.MAP_PRIVATE]:
                is_('mmap', mmap.mmap(fd, 0, kind, mmap.PROT_READ)[:] == W, True)
            is_('shared for writing', says(mmap.mmap, fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE), 'EACCES')
            copy = mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
            copy[0] ^= 255; is_('a private copy', os.pread(fd, 1, 0), W[:1])
            for offset in [size, size + 1, size + 99999, 1 << 62]: is_('behind the end', os.pread(fd, 99, offset), b'')
            is_('the end', os.pread(fd, 4096, size - 7), W[-7:])
            direct = os.open(D, os.O_RDONLY | os.O_DIRECT); buffer = mmap.mmap(-1, 2 << 20)
            for offset in [0, 1, 511, 512, 4096, 4097, (1 << 20) - 1, size - 4096, size - 513, size - 512, size - 1, size,
                size + 512]:
                for count in [1, 511, 512, 513, 4096, 8191, 1 << 20, (1 << 20) + 1]:
                    got = os.preadv(direct, [memoryview(buffer)[:count]], offset)
                    is_('direct %d at %d' % (count, offset), buffer[:got] == W[offset:offset + count], True)
            for advice in range(6): is_('fadvise', says(os.posix_fadvise, fd, 0, 0, advice), None)
            is_('readahead', libc.readahead(fd, ctypes.c_long(0), 1 << 20), 0)
            out = os.memfd_create('copy')
            def filled(how):
                os.ftruncate(out, 0); os.lseek(out, 0, 0); position = 0
                while position < size and (count := how(position)): position += count
                is_('copied', os.pread(out, size + 1, 0) == W, True)
            filled(lambda position: os.sendfile(out, fd, position, size - position))
            reader, writer = os.pipe()
            def splice(position):
                count = os.splice(fd, writer, 65536, offset_src=position)
                return os.splice(reader, out, count)
            filled(splice)
            # Between file systems of two kinds, the kernel (5.19 and later) leaves it to the caller.
            try: filled(lambda position: os.copy_file_range(fd, out, size - position, position, position))
            except OSError as e: is_('copy_file_range', errno.errorcode[e.errno], 'EXDEV')
            """, isOrdinary: isOrdinary)
    }
}
