import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.canMount("qemu-img", "python3", "sfdisk", "tar")))
struct `The inode number of a file` {
    private func images() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try Shell.check(
            """
            cd "$1"; mkdir sub; truncate -s 4M base.raw
            printf '2048,2048\\n4096,\\n' | sfdisk -q --label dos base.raw
            qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
            for name in one two three; do qemu-img snapshot -c $name top.qcow2; done
            cp base.raw sub/base.raw; tar -cf vm.ova base.raw
            """, folder.path)
        return folder
    }

    @Test func `is the same in listings and in stat, and after the kernel forgot it`() throws {
        let folder = try images()
        let mount = try Mount(folder.path)
        let printed = try Python.run(
            """
            def numbers(path, found):
                for entry in os.scandir(path):
                    number = entry.inode()
                    is_(entry.path, os.lstat(entry.path).st_ino, number)
                    found[entry.path] = number
                    if entry.is_dir(): numbers(entry.path, found)
                return found
            listed = {entry.path: entry.inode() for entry in os.scandir(sys.argv[1])}
            first = numbers(sys.argv[1], {})
            is_('listed first', {path: first[path] for path in listed}, listed)
            is_('of one file', len(set(first.values())), len(first)); is_('many', len(first) > 40, True)
            is_('again', numbers(sys.argv[1], {}), first)
            # The kernel forgets what it does not use when memory is short, or a superuser says that it is.
            if os.geteuid() == 0: open('/proc/sys/vm/drop_caches', 'w').write('2')
            is_('after that', numbers(sys.argv[1], {}), first)
            time.sleep(7)  # Now the images were closed.
            is_('later', numbers(sys.argv[1], {}), first)
            """, mount.path)
        #expect(printed == "")
    }

    @Test func `is another for an image that was replaced while it was read`() throws {
        let folder = try images()
        let mount = try Mount(folder.path)
        let printed = try Python.run(
            """
            mounted, images = sys.argv[1:3]; path = mounted + '/base.raw/disk.raw'
            file = open(path, 'rb'); before = os.fstat(file.fileno()).st_ino
            os.rename(images + '/sub/base.raw', images + '/base.raw')
            until = time.time() + 20
            while os.stat(path).st_ino == before and time.time() < until: time.sleep(0.1)
            is_('another', os.stat(path).st_ino != before, True)
            is_('the same', os.fstat(file.fileno()).st_ino, before)
            """, mount.path, folder.path)
        #expect(printed == "")
    }
}
