import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "python3")))
struct `A disk with an overlay` {
    @Test(
        .enabled(if: Tool.canUseLoopDevices("mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "fstrim")),
        arguments: [
            ("ext4", "qcow2", "e2fsck -fn"), ("xfs", "vmdk", "xfs_repair -n"), ("btrfs", "vhdx", "btrfs check"),
            ("vfat", "raw", "fsck.vfat -n"),
        ])
    func `has file systems made and mounted on it, which QEMU reads`(type: String, format: String, check: String) throws
    {
        let folder = try OverlaidFolder(
            """
            truncate -s 320M disk; head -c 1M /dev/urandom | dd of=disk bs=1M seek=100 conv=notrunc status=none
            qemu-img convert -f raw -O $1 disk a.$1; [ $1 = raw ] || rm disk; rm -f disk
            """, format)
        let image = "a.\(format)"
        var mount = try folder.mount()
        do {
            let device = try LoopDevice(mount.disk(image), isWritable: true)
            try Shell.check("PATH=$PATH:/usr/sbin; mkfs.$1 $2 >/dev/null 2>&1", type, device.path)
            if type == "vfat", !Tool.knowsFileSystem(type) {
                try Shell.check("head -c 20M /dev/urandom | mcopy -i \"$1\" - ::random", device.path)
            } else {
                let files = try DeviceMount(device, options: "rw")
                try Shell.check(
                    """
                    cp -rL /usr/share/doc/a* "$1/"; head -c 20M /dev/urandom >"$1/random"; sync; rm -r "$1"/*/
                    echo hello >"$1/hello"; fstrim "$1" 2>/dev/null || true
                    """, files.path)
            }
            try Shell.check("PATH=$PATH:/usr/sbin; sync; $1 $2", check, device.path)
            try device.detach()
        }
        let digest = try folder.digest(image, mount)
        let facts = try mount.document(image)["rblock", "overlay"]
        #expect(facts?["exists"] == .bool(true) && facts?["filename"]?.text == folder.overlay(image))
        #expect((facts?["writes"]?.number ?? 0) > 10 && (facts?["bytes-written"]?.number ?? 0) > 1 << 20)
        try folder.end(mount)
        #expect(try folder.digestByQEMU(image) == digest)
        // It is found again.
        mount = try folder.mount()
        #expect(try folder.digest(image, mount) == digest)
        try folder.end(mount)
    }

    @Test func `answers every call as a disk does`() throws {
        let folder = try OverlaidFolder(
            "head -c 8M /dev/urandom >a; qemu-img convert -f raw -O qcow2 a a.qcow2; rm a; qemu-img snapshot -c s a.qcow2"
        )
        let mount = try folder.mount()
        let said = try Python.run(
            """
            disk = sys.argv[1] + '/disk.raw'; size = os.path.getsize(disk); model = bytearray(contents(disk))
            is_('mode', stat.S_IMODE(os.stat(disk).st_mode), 0o644)
            f = os.open(disk, os.O_RDWR)
            def put(at, data):
                is_('pwrite', os.pwrite(f, data, at), len(data)); model[at:at + len(data)] = data
            def same(what): is_(what, hashlib.sha256(contents(disk)).digest(), hashlib.sha256(model).digest())
            put(0, b'a' * 3); put(65535, b'bc'); put(size - 1, b'z'); same('small writes')
            put(1 << 20, os.urandom(3 << 20)); same('a large write')
            is_('at the end', says(os.pwrite, f, b'x', size), 'ENOSPC')
            is_('across the end', os.pwrite(f, b'yy', size - 1), 1); model[size - 1] = ord('y'); same('across the end')
            is_('size', os.path.getsize(disk), size)
            is_('truncate', says(os.ftruncate, f, 5), 'EPERM'); is_('grow', says(os.truncate, disk, size + 1), 'EPERM')
            is_('O_TRUNC', says(os.open, disk, os.O_WRONLY | os.O_TRUNC), 'EPERM')
            is_('the same size', says(os.ftruncate, f, size), None)
            def fallocate(mode, at, count):
                if libc.fallocate(f, mode, ctypes.c_long(at), ctypes.c_long(count)) != 0:
                    raise OSError(ctypes.get_errno(), '')
            def zeroed(mode, at, count):
                is_('fallocate', says(fallocate, mode, at, count), None)
                model[at:at + count] = bytes(len(model[at:at + count])); same('fallocate %d' % mode)
            zeroed(3, 1 << 20, 1 << 20); zeroed(16, 2 << 20, 70000); zeroed(17, 5 << 20, 4096); zeroed(3, 100, 5)
            zeroed(3, size - 100, 5000); zeroed(17, size - 4096, 1 << 20)
            is_('a zero range past the end', says(fallocate, 16, size - 10, 20), 'EFBIG')
            is_('allocation', says(fallocate, 0, 0, 4096), 'ENOTSUP')
            is_('collapse', says(fallocate, 8, 0, 65536), 'ENOTSUP')
            is_('fsync', says(os.fsync, f), None); is_('fdatasync', says(os.fdatasync, f), None)
            m = mmap.mmap(f, size); m[70000:70010] = b'0123456789'; m[6 << 20] = 65; m.flush(); m.close()
            model[70000:70010] = b'0123456789'; model[6 << 20] = 65; same('mmap')
            d = os.open(disk, os.O_RDWR | os.O_DIRECT); page = mmap.mmap(-1, 8192); page.write(b'D' * 8192)
            is_('O_DIRECT', os.pwritev(d, [page], 4 << 20), 8192); model[4 << 20:(4 << 20) + 8192] = b'D' * 8192; same('O_DIRECT')
            is_('read O_DIRECT', os.preadv(d, [page], 0), 8192); is_('what it read', page[:8192], bytes(model[:8192])); os.close(d)
            a = os.open(disk, os.O_WRONLY | os.O_APPEND); is_('append', says(os.write, a, b'x'), 'ENOSPC'); os.close(a)
            is_('hole', os.lseek(f, 1 << 20, os.SEEK_HOLE), 1 << 20)
            is_('close', says(os.close, f), None); same('closed')
            for name in ['stats.json', 'map.json', 'snapshots/s/disk.raw', 'layers/0.raw']:
                path = sys.argv[1] + '/' + name
                if os.path.exists(path): is_(name, says(os.open, path, os.O_RDWR), 'EROFS')
            for call in [(os.chmod, disk, 0o600), (os.utime, disk), (os.unlink, disk), (os.mkdir, sys.argv[1] + '/x')]:
                is_(call[0].__name__, says(*call), 'EROFS')
            """, mount.file("a.qcow2"))
        #expect(said == "", "\(said)")
        let digest = try folder.digest("a.qcow2", mount)
        try folder.end(mount)
        #expect(try folder.digestByQEMU("a.qcow2") == digest)
    }

    @Test func `shows nothing older than what was written, to those who read at the same time`() throws {
        let folder = try OverlaidFolder(
            """
            truncate -s 16M a.raw; printf 'label: gpt\nstart=2048, size=8192\n' | sfdisk -q a.raw
            """)
        let mount = try folder.mount()
        let said = try Python.run(
            """
            whole = sys.argv[1] + '/disk.raw'; part = sys.argv[1] + '/partitions/p1.raw'; start = 2048 * 512
            done = multiprocessing.Value('q', 0); over = multiprocessing.Value('b', 0)
            def reading(name, path, flags, at, maps):
                f = os.open(path, flags); m = None; count = 0
                try:
                    if maps: m = mmap.mmap(f, os.path.getsize(path), prot=mmap.PROT_READ)
                except OSError as e: return is_('mapping', e.errno, errno.ENODEV)
                while not over.value or count == 0:
                    least = done.value
                    if name == 'the disk, opened anew': os.close(f); f = os.open(path, flags)
                    got = int.from_bytes(m[at:at + 8] if m else os.pread(f, 8, at), 'little'); count += 1
                    if got < least: print('%s: %d after %d was written' % (name, got, least)); return
            readers = [multiprocessing.Process(target=reading, args=arguments) for arguments in [
                ('the disk', whole, os.O_RDONLY, start, False), ('memory of the disk', whole, os.O_RDONLY, start, True),
                ('the disk, opened anew', whole, os.O_RDONLY, start, False),
                ('the disk, for writing', whole, os.O_RDWR, start, False),
                ('memory of the disk, for writing', whole, os.O_RDWR, start, True),
                ('the partition', part, os.O_RDONLY, 0, False), ('memory of the partition', part, os.O_RDWR, 0, True)]]
            for reader in readers: reader.start()
            w = os.open(whole, os.O_RDWR); p = os.open(part, os.O_RDWR)
            end = time.monotonic() + 6; number = 0
            while time.monotonic() < end:
                number += 1; bytes = number.to_bytes(8, 'little')
                if number % 3: os.pwrite(w, bytes * 512, start)
                else: os.pwrite(p, bytes, 0)
                done.value = number
            over.value = 1
            for reader in readers: reader.join(30)
            is_('readers that ended', [reader.exitcode for reader in readers], [0] * len(readers))
            is_('writes', number > 100, True)
            """, mount.file("a.raw"))
        #expect(said == "", "\(said)")
        try folder.end(mount)
    }

    @Test func `is mapped by a program whose threads write to it`() throws {
        let folder = try OverlaidFolder("truncate -s 16M a.raw")
        let mount = try folder.mount()
        let said = try Python.run(
            """
            disk = sys.argv[1] + '/disk.raw'; end = time.monotonic() + 8; turns = 0
            def writing(file, at):
                while not over: os.pwritev(file, [mmap.mmap(-1, 1 << 20)], at)
            while time.monotonic() < end:
                over = False; file = os.open(disk, os.O_RDWR); turns += 1
                threads = [threading.Thread(target=writing, args=(file, at << 20)) for at in range(2)]
                for thread in threads: thread.start()
                for turn in range(4):
                    m = mmap.mmap(file, 16 << 20); m[8 << 20] = turn; m.flush(); m.close()
                over = True
                for thread in threads: thread.join()
                os.close(file)
            is_('turns', turns > 3, True)
            """, mount.file("a.raw"), timeout: 100)
        #expect(said == "", "\(said)")
        try folder.end(mount)
    }

    @Test func `shows at once through each of its files what was written through another`() throws {
        let folder = try OverlaidFolder(
            """
            truncate -s 16M a.raw; printf 'label: gpt\\nstart=2048, size=8192\\nstart=12288, size=8192\\n' | sfdisk -q a.raw
            qemu-img create -q -f qcow2 -b a.raw -F raw a.qcow2
            """)
        let mount = try folder.mount()
        let said = try Python.run(
            """
            whole = sys.argv[1] + '/disk.raw'; part = sys.argv[1] + '/partitions/p2.raw'; start = 12288 * 512
            w = os.open(whole, os.O_RDWR); p = os.open(part, os.O_RDWR)
            m = mmap.mmap(w, os.path.getsize(whole))
            # Others that have it open, by which the kernel has pages of its own, or none.
            r = os.open(whole, os.O_RDONLY); w2 = os.open(whole, os.O_RDWR); pm = None
            layer = sys.argv[1] + '/layers/0.raw'; lm = None
            try:
                pm = mmap.mmap(p, os.path.getsize(part))
                l = os.open(layer, os.O_RDONLY); lm = mmap.mmap(l, os.path.getsize(layer), prot=mmap.PROT_READ)
            # Before Linux 6.6 what is read past the page cache cannot be mapped.
            except OSError as e: is_('mapping a partition', e.errno, errno.ENODEV)
            rand = random.Random(7)
            for turn in range(300):
                count = rand.choice([1, 512, 4096, 70000]); at = rand.randrange((4 << 20) - count)
                data = bytes([turn % 251 + 1]) * count
                os.pread(w, 65536, start + at); os.pread(p, 65536, at); os.pread(r, 65536, start + at)
                if turn % 2:
                    is_('to the partition', os.pwrite(p, data, at), count)
                    is_('by the disk', os.pread(w, count, start + at), data)
                    is_('by memory', m[start + at:start + at + count], data)
                else:
                    is_('to the disk', os.pwrite(w, data, start + at), count)
                    is_('by the partition', os.pread(p, count, at), data)
                    is_('by memory, of the disk', m[start + at:start + at + count], data)
                for file in [r, w2]: is_('by others', os.pread(file, count, start + at), data)
                if pm: is_('by memory of the partition', pm[at:at + count], data)
                if lm: is_('by memory of the layer', lm[start + at:start + at + count], data)
            # What memory changes is seen by others once it is synced.
            for turn in range(200):
                at = turn * 5000; m[start + at:start + at + 4] = b'%4d' % turn; m.flush()
                is_('after msync', os.pread(p, 4, at), b'%4d' % turn); is_('after msync', os.pread(r, 4, start + at), b'%4d' % turn)
                if pm: is_('after msync, by memory', pm[at:at + 4], b'%4d' % turn)
            # In one page, which memory has changed and the kernel has not written yet.
            m[start + 9000] = 65
            is_('beside memory', os.pwrite(p, b'next', 9001), 4)
            m.flush(); is_('both', os.pread(p, 5, 9000), b'Anext')
            if pm:
                pm[20000] = 66; is_('beside memory of the partition', os.pwrite(w, b'then', start + 20001), 4)
                pm.flush(); is_('both, by the disk', os.pread(r, 5, start + 20000), b'Bthen'); pm.close()
            is_('past its end', says(os.pwrite, p, b'x', 4 << 20), 'ENOSPC')
            m.close(); os.close(w); os.close(p); os.close(r); os.close(w2)
            """, mount.file("a.qcow2"))
        #expect(said == "", "\(said)")
        // What the guest's table says by now, once the disk is closed.
        try Shell.check(
            "printf 'label: dos\\nstart=4096, size=4096\\n' | sfdisk -q --no-reread \"$1\"", mount.disk("a.qcow2"))
        let partitions = mount.file("a.qcow2/partitions")
        let isSeen = wait(seconds: 20) {
            (try? Shell.check("ls \"$1\"; stat -c %s \"$1/p1.raw\"", partitions)) == "p1.raw\n2097152"
        }
        #expect(isSeen)
        try folder.end(mount)
    }
}
