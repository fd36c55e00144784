import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "A mount under load", .serialized, .enabled(if: Tool.canMount("qemu-img", "python3", "cmp", "find", "sfdisk")))
struct UnderLoadTests {
    @Test(
        "While an image is replaced again and again, every reader sees one version of it, whole",
        arguments: ["1500000, 1500000, 1500000", "1500000, 900000, 2000001"])
    func replaced(sizes: String) throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try folder.write([UInt8](repeating: 0, count: 512), to: "images/a.raw")
        let mount = try Mount(images)
        let printed = try Python.run(
            """
            D, I, sizes = sys.argv[1], sys.argv[2], eval(sys.argv[3])
            versions = [random.Random(i).randbytes(n) for i, n in enumerate(sizes)]
            # A disk of whole sectors: the last one is filled up with zeros.
            sums = [hashlib.sha256(v + bytes(-len(v) % 512)).digest() for v in versions]
            def install(version):
                with open(I + '/../new', 'wb') as file: file.write(version)
                os.rename(I + '/../new', I + '/a.raw')
            def read(step, end, queue):
                seen = set()
                while time.time() < end:
                    try:
                        with open(D, 'rb', buffering=0) as file:
                            data = b''.join(iter(lambda: file.read(step), b''))
                    except OSError as e: seen.add(errno.errorcode[e.errno])
                    else:
                        sum = hashlib.sha256(data + bytes(-len(data) % 512)).digest()
                        seen.add(sums.index(sum) if sum in sums else 'a mixture of %d bytes' % len(data))
                queue.put(seen)
            install(versions[0]); queue = multiprocessing.Queue(); time.sleep(0.1)
            # The first second is for the disk that was there before.
            while os.stat(D).st_size == 512: time.sleep(0.1)
            seen, turn = set(), 0
            # Five seconds are enough, unless the processors are busy.
            for round in range(12):
                end = time.time() + 5
                readers = [multiprocessing.Process(target=read, args=(s, end, queue)) for s in [4096, 65536, 300000, 1 << 20]]
                for reader in readers: reader.start()
                while time.time() < end:
                    turn += 1; install(versions[turn % 3]); time.sleep(random.choice([0, 0.001, 0.01, 0.05, 0.3]))
                for _ in readers: seen |= queue.get()
                if seen >= {0, 1, 2} and turn > 30: break
            is_('seen', seen - {'ESTALE'}, {0, 1, 2}); is_('replaced often', turn > 30, True)
            """, mount.disk("a.raw"), images, "[\(sizes)]")
        #expect(printed == "")
        #expect(mount.isServing)
        #expect(wait(seconds: 60) { (try? Tool.check("cmp", "\(images)/a.raw", mount.disk("a.raw"))) != nil })
    }

    @Test("When the server is killed, every reader ends with an error, and a new mount takes its place at once")
    func killed() throws {
        let gallery = try Gallery(["zlib.qcow2", "disk.raw"], seed: 1)
        let folder = try TemporaryFolder()
        let mountpoint = try folder.makeFolder("mnt")
        let mount = try Mount(gallery.images, at: mountpoint, in: folder)
        let printed = try Python.run(
            """
            import signal
            def reads(queue, path, flags, size):
                answer = None
                queue.put('begun')
                while answer is None:
                    def whole():
                        fd = os.open(path, flags)
                        try:
                            buffer = mmap.mmap(-1, size)
                            while os.readv(fd, [buffer]): pass
                        finally: os.close(fd)
                    answer = says(whole)
                queue.put(answer)
            def lists(queue):
                answer = None
                queue.put('begun')
                while answer is None: answer = says(lambda: [os.stat(sys.argv[1] + '/' + n) for n in os.listdir(sys.argv[1])])
                queue.put(answer)
            queue = multiprocessing.Queue(); processes = [multiprocessing.Process(target=lists, args=(queue,))]
            for name in ['zlib.qcow2', 'disk.raw']:
                for size, flags in [(4096, os.O_RDONLY), (1 << 20, os.O_RDONLY), (65536, os.O_RDONLY | os.O_DIRECT)]:
                    path = sys.argv[1] + '/' + name + '/disk.raw'
                    processes.append(multiprocessing.Process(target=reads, args=(queue, path, flags, size)))
            for process in processes: process.start()
            for process in processes: is_('begun', queue.get(timeout=10), 'begun')
            time.sleep(0.5); os.kill(int(sys.argv[2]), signal.SIGKILL); begin = time.time()
            answers = {queue.get(timeout=20) for _ in processes}
            # The connection is aborted; a request that was under way may be answered with an error of its own.
            is_('answers', answers - {'ENOTCONN', 'ECONNABORTED', 'EIO', 'ENOENT'}, set())
            is_('at once', time.time() - begin < 10, True)
            for process in processes: process.join(10); is_('ended', process.exitcode, 0)
            """, mountpoint, "\(mount.server)")
        #expect(printed == "")
        #expect(mount.waitForEnd())
        let next = try Mount(gallery.images, at: mountpoint, in: folder)
        try Tool.check("cmp", "-n", "\(try Status(gallery.disk).size)", gallery.disk, next.disk("zlib.qcow2"))
        try next.unmount()
        withExtendedLifetime(mount) {}
    }

    @Test("While thousands of images come and go, who lists the tree is only told of those that are gone")
    func comingAndGoing() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Shell.check("cd \"$1\" && qemu-img create -q -f qcow2 base.qcow2 1M", images)
        let mount = try Mount(images)
        try Shell.check("ls -lR \"$1\" >/dev/null", mount.path)
        let before = try mount.openFiles()
        let result = try Shell.run(
            """
            cd "$1"; export LC_ALL=C
            { until [ -e "$3" ]; do find . -ls; done >/dev/null 2>"$3.1"; } &
            { until [ -e "$3" ]; do ls -lR; done >/dev/null 2>"$3.2"; } &
            { until [ -e "$3" ]; do find . -name '*.json' -exec cat {} +; done >/dev/null 2>"$3.3"; } &
            python3 -c '
            import os, sys, time
            os.chdir(sys.argv[1])
            for turn in range(20):
                names = ["%d-%d.qcow2" % (turn, i) for i in range(200)]
                for name in names: os.link("base.qcow2", name)
                os.mkdir("sub%d" % turn); os.link("base.qcow2", "sub%d/a.qcow2" % turn); time.sleep(0.15)
                os.unlink("sub%d/a.qcow2" % turn); os.rmdir("sub%d" % turn)
                for name in names: os.unlink(name)
            ' "$2" || echo "python3 failed" >&2
            touch "$3"; wait; cat "$3".? >&2
            """, mount.path, images, folder.file("done"))
        let errors = result.errors.split(separator: "\n")
        #expect(errors.filter { !$0.hasSuffix("No such file or directory") } == [])
        #expect(mount.isServing)
        // The folder's time is looked at once a second at most; then all that is gone is let go.
        #expect(try wait(seconds: 60) { try Shell.check("ls \"$1\"", mount.path) == "base.qcow2\nstats.json" })
        #expect(try wait(seconds: 60) { try mount.openFiles() <= before })
        #expect(try Shell.check("ls -l /proc/\"$1\"/fd | grep -c '(deleted)' || true", "\(mount.server)") == "0")
        // A test build takes 22 MiB after a while, whatever it does; 4,000 nodes that are kept would take it beyond this.
        #expect(try mount.memory("VmHWM") < 60 << 10, "KiB")
        let entries = {
            try JSONValue(parsing: FileManager.default.contents(atPath: mount.file("stats.json")) ?? Data())[
                "rblockfs", "entries"]?.number ?? 0
        }
        // The kernel gives up what it knows of names that are gone when it needs memory, or when it remounts.
        guard Tool.isRoot else { return }
        try Tool.check("mount", "-i", "-o", "remount,ro", mount.path)
        #expect(try wait(seconds: 60) { try entries() <= 3 }, "Nothing is kept.")
    }

    @Test("Every file of the tree can be read: layers, snapshots, partitions, maps and appliances")
    func everything() throws {
        let gallery = try Gallery(seed: 2)
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 -b plain.qcow2 -F qcow2 overlay.qcow2
            cp plain.qcow2 snapshots.qcow2; for name in one two; do qemu-img snapshot -c $name snapshots.qcow2; done
            truncate -s 16M parts; printf 'label: gpt\\nsize=3M\\nsize=4M\\n' | sfdisk -q parts
            qemu-img convert -O qcow2 -c parts parts.qcow2; mv parts parts.raw; mkdir deep; cp zstd.qcow2 deep/
            tar --format=ustar -cf all.ova stream.vmdk sparse.vmdk
            """, gallery.images)
        let mount = try Mount(gallery.images)
        let read = "find \"$1\" -type f -print0 | xargs -0 -P 4 -n 5 cat | wc -c"
        #expect(try Shell.run(read, mount.path).errors == "")
        let files = try Shell.check("cd \"$1\" && find . -type f", mount.path).split(separator: "\n")
        for part in ["/layers/1.raw", "/snapshots/two/disk.raw", "/partitions/p2.raw", "/map.json", "deep/", ".ova/"] {
            #expect(files.contains { $0.contains(part) }, "\(part)")
        }
        #expect(files.count > 60)
        #expect(mount.isServing)
        #expect(try mount.document("overlay.qcow2")["rblockfs", "counters", "read-errors"]?.number == 0)
    }
}
