/// What tests fill file systems of Unix with.
package enum GuestTree {
    /// A Python program whose arguments are the folder to fill, the most bytes of a value of an attribute, and how many files the
    /// largest directory has.
    package static let populate = """
        import os, random, socket, stat, struct, sys
        os.chdir(sys.argv[1])
        largest, many = int(sys.argv[2]), int(sys.argv[3])
        r = random.Random(7)
        def write(name, size):
            with open(name, 'wb') as f: f.write(r.randbytes(size))
        os.mkdir('sizes')
        for size in [0, 1, 4, 59, 60, 61, 100, 150, 160, 161, 200, 1023, 1024, 1025, 4095, 4096, 4097, 12288, 12289, 65536, 300000, 2500001]:
            write('sizes/%d' % size, size)
        os.mkdir('sparse')
        for index, steps in enumerate([[0], [5000], [1 << 20], [3, 9000, 70000, 400000], [1 << 25], [(1 << 26) + (1 << 24) + 5]]):
            with open('sparse/%d' % index, 'wb') as f:
                for place in steps:
                    f.seek(place)
                    f.write(r.randbytes(777))
        with open('sparse/end', 'wb') as f:
            f.write(b'x' * 5000)
            f.truncate(1 << 26)
        with open('sparse/pieces', 'wb') as f:
            for index in range(700):
                f.seek(index * 8192 * 2)
                f.write(r.randbytes(100))
        try:
            with open('sparse/unwritten', 'wb') as f:
                os.posix_fallocate(f.fileno(), 0, 400000)
                f.seek(100000)
                f.write(r.randbytes(50000))
        except OSError: pass
        os.mkdir('mixed')
        files = [open('mixed/%d' % index, 'wb') for index in range(6)]
        for turn in range(60):
            for f in files:
                f.write(r.randbytes(5000))
                f.flush()
                os.fsync(f.fileno()) if turn % 12 == 0 else None
        for f in files: f.close()
        os.mkdir('links')
        for size in [1, 10, 58, 59, 60, 61, 100, 155, 156, 200, 900, 1000]:
            os.symlink('a' * (size - 1) + 'z', 'links/%d' % size)
        os.symlink('../sizes/100', 'links/relative')
        os.link('sizes/100', 'links/hard1')
        os.link('sizes/100', 'links/hard2')
        os.mkdir('devices')
        for name, kind, major, minor in [('c', stat.S_IFCHR, 4, 64), ('b', stat.S_IFBLK, 8, 1), ('big', stat.S_IFBLK, 259, 300000),
                                         ('c2', stat.S_IFCHR, 511, 256), ('zero', stat.S_IFCHR, 0, 0)]:
            try: os.mknod('devices/' + name, kind | 0o640, os.makedev(major, minor))
            except OSError: pass
        os.mkfifo('devices/fifo')
        s = socket.socket(socket.AF_UNIX); s.bind('devices/socket'); s.close()
        os.mkdir('names')
        for name in [b'a' * 255, 'Größe µ'.encode(), bytes(range(128, 256)) + b'x', b' ', b'...', b'..x', b'-rf', b'new\\nline']:
            open(os.path.join(b'names', name), 'wb').close()
        os.mkdir('attributes')
        for index in range(12):
            name = 'attributes/%d' % index
            write(name, index * 30)
            for each in range(index):
                try: os.setxattr(name, 'user.name%d' % each, r.randbytes(r.choice([0, 1, 4, 30, 60])))
                except OSError: break
        open('attributes/large', 'wb').close()
        os.setxattr('attributes/large', 'user.large', r.randbytes(largest))
        os.setxattr('attributes/large', 'trusted.overlay.opaque', b'y')
        os.setxattr('attributes/large', 'security.selinux', b'system_u:object_r:etc_t:s0\\0')
        os.symlink('x' * 30, 'attributes/link')
        os.setxattr('attributes/link', 'trusted.l', b'of a link' * 9, follow_symlinks=False)
        def acl(*entries): return struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in entries)
        none = 0xffffffff
        value = acl((1, 7, none), (2, 5, 1000), (2, 6, 70000), (4, 5, none), (8, 4, 12), (16, 7, none), (32, 4, none))
        os.mkdir('attributes/folder')
        os.setxattr('attributes/folder', 'system.posix_acl_access', value)
        os.setxattr('attributes/folder', 'system.posix_acl_default', value)
        write('attributes/folder/inherits', 10)
        os.mkdir('deep')
        path = 'deep'
        for index in range(30):
            path += '/d%d' % index
            os.mkdir(path)
            write(path + '/f', index)
        os.mkdir('many')
        for index in range(many): open('many/a file with a number %d' % index, 'wb').close()
        for index in range(0, many, 7): os.unlink('many/a file with a number %d' % index)
        os.mkdir('few')
        for index in range(3): open('few/%d' % index, 'wb').close()
        os.mkdir('times')
        for index, time in enumerate([-315619200 * 10**9 + 5, 4102444800 * 10**9 + 999999999, 0, 1, 2**31 * 10**9 - 1, 2**31 * 10**9, 2**32 * 10**9 + 7,
                                      3 * 2**32 * 10**9, 1700000000123456789, -1]):
            write('times/%d' % index, 3)
            try: os.utime('times/%d' % index, ns=(time, time + 1))
            except OSError: pass
        os.mkdir('modes')
        for index, mode in enumerate([0, 0o4755, 0o2755, 0o1777, 0o644, 0o7777]):
            write('modes/%d' % index, 1)
            os.chown('modes/%d' % index, 65535 + index * 70000, 1 + index * 66000)
            os.chmod('modes/%d' % index, mode)
        """
}
