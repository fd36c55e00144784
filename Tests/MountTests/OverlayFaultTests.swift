import Foundation
import HostTools
import TestImages
import Testing

/// Overlays on a host that fails every so manieth call that a server makes for one of them: strace has them fail.
@Suite(.enabled(if: Tool.canMount("strace", "qemu-img", "python3")))
struct `What is written where the host fails` {
    static let faults = [
        "pwrite64:ENOSPC", "pwrite64:EIO", "fallocate:EIO", "fdatasync:EIO", "linkat:ENOSPC", "fsync:EIO",
    ]

    /// Writes at random to the first disk, of which each page must be what a write that was answered, or one that failed, has
    /// made of it since the last sync that succeeded; and to the second, of which nothing fails. argv: the mount, the PID of
    /// the server, the overlay and its folder, the fault, every how manieth call, the file for what the pages may be.
    private static let client = """
        import json, signal, subprocess
        mount, server, overlay, folder, fault, number, state = sys.argv[1:]
        call, error = fault.split(':')
        random.seed(int(number))
        a, b = [os.open(mount + '/' + name + '.qcow2/disk.raw', os.O_RDWR | os.O_DIRECT) for name in 'ab']
        size, page = 4 << 20, 4096
        def get(f):
            whole = mmap.mmap(-1, size); os.preadv(f, [whole], 0); return whole[:]
        def pages(content): return [content[at:at + page] for at in range(0, size, page)]
        now, other = pages(get(a)), bytearray(get(b))
        may = [[content] for content in now]
        os.pwritev(b, [mmap.mmap(-1, page)], 0); other[:page] = bytes(page); os.fsync(b)
        log = open(state + '.trace', 'wb')
        strace = subprocess.Popen(['strace', '-f', '-p', server, '-P', overlay, '-P', folder, '-e', 'trace=' + call, '-e',
            'inject=%s:error=%s:when=%s+%s' % (call, error, number, number)], stderr=log)
        def tracer(task):
            try: return open('/proc/%s/task/%s/status' % (server, task)).read().split('TracerPid:\\t')[1].split()[0]
            except OSError: return ''  # a thread that has ended
        def tracers(): return [tracer(task) for task in os.listdir('/proc/%s/task' % server)]
        while strace.poll() is None and '0' in tracers(): time.sleep(0.01)
        for turn in range(80):
            first = random.randrange(size // page); count = min(random.choice([1, 1, 2, 8, 40]), size // page - first)
            kind = random.choice('wwwwzs')
            bytes_ = bytes(count * page) if kind == 'z' else random.randbytes(count * page)
            try:
                if kind == 's': os.fsync(a); may = [[content] for content in now]; continue
                if kind == 'z':
                    if libc.fallocate(a, 3, ctypes.c_long(first * page), ctypes.c_long(count * page)) != 0:
                        raise OSError(ctypes.get_errno(), 'fallocate')
                else:
                    buffer = mmap.mmap(-1, count * page); buffer[:] = bytes_
                    done = os.pwritev(a, [buffer], first * page); is_('written', done, count * page)
                for index in range(count): now[first + index] = bytes_[index * page:(index + 1) * page]
            except OSError as e:
                is_('errno', e.errno in (errno.ENOSPC, errno.EIO), True)
                if kind == 's': continue
                found = pages(get(a))
                for index in range(size // page):
                    mine = first <= index < first + count
                    want = bytes_[(index - first) * page:(index - first + 1) * page] if mine else now[index]
                    # A page has several parts that are written one by one.
                    parts = all(found[index][at:at + 512] in (now[index][at:at + 512], want[at:at + 512]) for at in range(0, page, 512))
                    is_('page %d after an error' % index, parts, True)
                now = found
            for index in range(first, first + count): may[index].append(now[index])
            at = random.randrange(size // page) * page
            buffer = mmap.mmap(-1, page); buffer[:] = random.randbytes(page)
            is_('the other disk', says(os.pwritev, b, [buffer], at), None); other[at:at + page] = buffer[:]
        is_('the disk', pages(get(a)) == now, True); is_('the other', get(b) == bytes(other), True)
        is_('sync of the other', says(os.fsync, b), None)
        strace.send_signal(signal.SIGINT); strace.wait()
        if says(os.fsync, a) is None: may = [[content] for content in now]
        says(os.close, a); os.close(b)
        with open(state, 'w') as file:
            json.dump([[hashlib.sha256(content).hexdigest() for content in each] for each in may], file)
        open(state + '.b', 'w').write(hashlib.sha256(other).hexdigest())
        """

    @Test(arguments: faults) func `is answered truly, stays sound, and harms no other disk`(fault: String) throws {
        var injected = 0
        for number in [1, 3, 7] {
            let folder = try OverlaidFolder(
                "head -c 4M /dev/urandom >a; qemu-img convert -f raw -O qcow2 a a.qcow2; mv a b; qemu-img convert -f raw -O qcow2 b b.qcow2; rm b"
            )
            let mount = try folder.mount()
            let state = folder.folder.file("state")
            let said = try Python.run(
                Self.client, mount.path, "\(mount.server)", folder.overlay("a.qcow2"), folder.overlays, fault,
                "\(number)",
                state)
            #expect(said == "", "\(fault), every \(number): \(said)")
            injected +=
                try String(contentsOfFile: state + ".trace", encoding: .utf8).split(separator: "INJECTED").count - 1
            try mount.unmount(patience: 200)
            try folder.checkOverlays(mayLeak: true)
            let again = try folder.mount()
            let found = try Python.run(
                """
                import json
                content = contents(sys.argv[1])
                for index, may in enumerate(json.load(open(sys.argv[3]))):
                    page = hashlib.sha256(content[index * 4096:index * 4096 + 4096]).hexdigest()
                    is_('page %d' % index, page in may, True)
                is_('the other disk', hashlib.sha256(contents(sys.argv[2])).hexdigest(), open(sys.argv[3] + '.b').read())
                """, again.disk("a.qcow2"), again.disk("b.qcow2"), state)
            #expect(found == "", "\(fault), every \(number), mounted again: \(found)")
            try again.unmount(patience: 200)
        }
        #expect(injected > 0)
    }

    /// By default the kernel ends a process that writes past its limit.
    @Test func `past the limit of a file's size is refused, and the server goes on`() throws {
        let folder = try OverlaidFolder("head -c 4M /dev/urandom >a.raw")
        try Mount.register(try folder.folder.makeFolder("mnt"))
        try Shell.check(
            """
            cd "$1"; (ulimit -f 1500; "$2" --overlay overlays images mnt)
            trap '"$3" unmount mnt || umount -l mnt' EXIT
            cp mnt/a.raw/disk.raw want; status=0
            tr '\\0' x </dev/zero | dd of=mnt/a.raw/disk.raw bs=64k count=40 iflag=fullblock conv=notrunc,fsync 2>said || status=$?
            [ $status = 1 ]; grep -q 'File too large' said
            count=$(sed -n 's/ bytes.*//p' said); [ $count -gt 100000 ] && [ $((count % 65536)) = 0 ]
            tr '\\0' x </dev/zero | dd of=want bs=$count count=1 iflag=fullblock conv=notrunc status=none
            cmp -n $count mnt/a.raw/disk.raw want; cmp -i $((count + 65536)) mnt/a.raw/disk.raw want
            """, folder.folder.path, Tool.rblockfs, Tool.rblock)
        try folder.checkOverlays()
    }
}
