import Foundation
import HostTools
import TestImages
import Testing

@Suite("Directory streams", .enabled(if: Tool.canMount("qemu-img", "python3")))
struct DirectoryStreamTests {
    /// opendir(3) and its like; the name in a struct dirent of Linux begins at byte 19.
    private static let streams = """
        for name in ['readdir', 'telldir', 'seekdir', 'rewinddir', 'closedir']:
            getattr(libc, name).argtypes = [ctypes.c_void_p, ctypes.c_long][:2 if name == 'seekdir' else 1]
        libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p; libc.telldir.restype = ctypes.c_long
        def one(stream):
            entry = libc.readdir(stream)
            return ctypes.string_at(entry + 19) if entry else None
        def rest(stream):
            names = []
            while (name := one(stream)) is not None: names.append(name)
            return names
        R, I = sys.argv[1:3]; stream = libc.opendir(R.encode())

        """

    @Test("Of 10,000 entries, each is listed once, telldir and seekdir find each again, and rewinddir sees new ones")
    func tenThousand() throws {
        let folder = try TemporaryFolder()
        try Shell.check(
            "cd \"$1\" && qemu-img create -q -f qcow2 d00000.qcow2 1M"
                + " && python3 -c 'import os\nfor i in range(1, 10000): os.link(\"d00000.qcow2\", \"d%05d.qcow2\" % i)'",
            folder.path)
        let mount = try Mount(folder.path)
        let printed = try Python.run(
            Self.streams + """
                all = [b'.', b'..', b'stats.json'] + [b'd%05d.qcow2' % i for i in range(10000)]
                names, places = [], []
                while True:
                    places.append(libc.telldir(stream)); name = one(stream)
                    if name is None: break
                    names.append(name)
                is_('all', [len(names), set(names) ^ set(all)], [len(all), set()])
                is_('places', len(set(places)), len(places))
                for index in list(range(len(names)))[::-617]:
                    libc.seekdir(stream, places[index]); is_(index, one(stream), names[index])
                libc.seekdir(stream, places[5000]); is_('the rest', rest(stream) == names[5000:], True)
                libc.seekdir(stream, places[-1]); is_('the end', rest(stream), [])
                libc.rewinddir(stream); is_('again', rest(stream) == names, True)
                libc.rewinddir(stream); seen = [one(stream) for _ in range(4000)]
                for i in range(5000, 5100): os.unlink(I + '/d%05d.qcow2' % i)
                for i in range(100): os.link(I + '/d00000.qcow2', I + '/a%05d.qcow2' % i)
                os.listdir(R); seen += rest(stream)
                staying = {n for n in names if not n.startswith(b'd050')}
                is_('each once', len(seen), len(set(seen))); is_('those that stay', staying - set(seen), set())
                time.sleep(0.2); libc.rewinddir(stream); now = rest(stream)
                is_('those that came', len([n for n in now if n.startswith(b'a')]), 100)
                is_('now', set(now), staying | {b'a%05d.qcow2' % i for i in range(100)}); is_('once', len(now), len(set(now)))
                is_('closedir', libc.closedir(stream), 0)
                """, mount.path, folder.path)
        #expect(printed == "")
    }

    @Test("Two streams of one directory, and threads on one, do not disturb each other")
    func several() throws {
        let gallery = try Gallery(["plain.qcow2", "disk.raw"], seed: 1)
        let mount = try Mount(gallery.images)
        let printed = try Python.run(
            Self.streams + """
                other = libc.opendir(R.encode()); one(stream); one(stream)
                is_('the other', len(rest(other)), 5); is_('the first', len(rest(stream)), 3)
                def work():
                    for turn in range(200): is_('listed', sorted(os.listdir(R)), ['disk.raw', 'plain.qcow2', 'stats.json'])
                threads = [threading.Thread(target=work) for _ in range(8)]
                for thread in threads: thread.start()
                for thread in threads: thread.join()
                """, mount.path, gallery.images)
        #expect(printed == "")
        #expect(mount.isServing)
    }
}
