import Foundation
import HostTools
import TestImages
import Testing

/// What can be done with an open file, and what cannot.
extension ConformanceTests {
    @Test("lseek answers to every whence, within the file, at its end and behind it", arguments: users)
    func seeking(isOrdinary: Bool) throws {
        try Sample().check(
            """
            fd = os.open(D, os.O_RDONLY); M = 1 << 20
            for whence, offset, found in [(os.SEEK_SET, 5, 5), (os.SEEK_CUR, 2, 7), (os.SEEK_END, 0, size),
                (os.SEEK_END, -1, size - 1), (os.SEEK_END, 5, size + 5), (os.SEEK_DATA, 0, 0), (os.SEEK_HOLE, 0, M),
                (os.SEEK_DATA, M, 2 * M), (os.SEEK_HOLE, M + 77, M + 77), (os.SEEK_HOLE, 3 * M, size),
                (os.SEEK_DATA, size - 1, size - 1), (os.SEEK_HOLE, size - 1, size)]:
                is_('lseek %d %d' % (whence, offset), os.lseek(fd, offset, whence), found)
            for whence, offset, error in [(os.SEEK_SET, -1, 'EINVAL'), (os.SEEK_END, -size - 1, 'EINVAL'),
                (os.SEEK_DATA, size, 'ENXIO'), (os.SEEK_HOLE, size, 'ENXIO'), (os.SEEK_DATA, 1 << 62, 'ENXIO'),
                (os.SEEK_DATA, -1, 'ENXIO'), (os.SEEK_HOLE, -1, 'ENXIO'), (9, 0, 'EINVAL')]:
                is_('lseek %d %d' % (whence, offset), says(os.lseek, fd, offset, whence), error)
            is_('the offset moves on', [os.lseek(fd, 9, 0), os.read(fd, 4), os.lseek(fd, 0, 1)], [9, W[9:13], 13])
            """, isOrdinary: isOrdinary)
    }

    @Test("Every way to open, and what access says, is that of a file that may be read", arguments: users)
    func opening(isOrdinary: Bool) throws {
        try Sample().check(
            """
            for flags, answer in [('O_WRONLY', 'EROFS'), ('O_RDWR', 'EROFS'), ('O_TRUNC', 'EROFS'), ('O_CREAT', None),
                ('O_NONBLOCK', None), ('O_PATH', None), ('O_NOFOLLOW', None), ('O_SYNC', None), ('O_DIRECT', None),
                ('O_DIRECTORY', 'ENOTDIR')]:
                is_(flags, says(os.open, D, getattr(os, flags)), answer)
            is_('O_EXCL', says(os.open, D, os.O_CREAT | os.O_EXCL), 'EEXIST')
            is_('new', says(os.open, F + '/new', os.O_CREAT), 'EROFS')
            is_('folder', [says(os.open, F, os.O_RDONLY | os.O_DIRECTORY), says(os.open, F, os.O_WRONLY)], [None, 'EISDIR'])
            is_('execve', says(os.execv, D, [D]), 'EACCES')
            for path, may in [(D, [True, True, False, False]), (F, [True, True, False, True]),
                (R, [True, True, False, True]), (F + '/stats.json', [True, True, False, False])]:
                is_('access ' + path, [os.access(path, m) for m in [os.F_OK, os.R_OK, os.W_OK, os.X_OK]], may)
            is_('readlink', [says(os.readlink, D), says(os.readlink, F)], ['EINVAL', 'EINVAL'])
            folder = os.open(F, os.O_RDONLY); is_('read a folder', says(os.read, folder, 9), 'EISDIR')
            is_('openat', says(lambda: os.open('disk.raw', os.O_RDONLY, dir_fd=folder)), None)
            os.fchdir(folder); is_('cwd', os.stat('disk.raw').st_size, size)
            """, isOrdinary: isOrdinary)
    }

    @Test("An open file cannot be changed, and can be synced, locked and watched", arguments: users)
    func handles(isOrdinary: Bool) throws {
        try Sample().check(
            """
            fd, other = os.open(D, os.O_RDONLY), os.open(D, os.O_RDONLY)
            for call, answer in [(lambda: os.write(fd, b'x'), 'EBADF'), (lambda: os.ftruncate(fd, 0), 'EINVAL'),
                (lambda: os.posix_fallocate(fd, 0, 9), 'EBADF'), (lambda: os.fchmod(fd, 0o600), 'EROFS'),
                (lambda: os.fchown(fd, 1, 1), 'EROFS'), (lambda: os.utime(fd), 'EROFS'),
                (lambda: os.setxattr(fd, 'user.a', b''), 'EROFS'), (lambda: os.mknod(F + '/n'), 'EROFS'),
                (lambda: os.fsync(fd), None), (lambda: os.fdatasync(fd), None),
                (lambda: os.fsync(os.open(F, os.O_RDONLY)), None), (lambda: fcntl.flock(fd, fcntl.LOCK_EX), None),
                (lambda: fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB), 'EAGAIN'),
                (lambda: fcntl.flock(fd, fcntl.LOCK_UN), None),
                (lambda: fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB), None),
                (lambda: fcntl.lockf(fd, fcntl.LOCK_SH, 9, 9), None), (lambda: fcntl.lockf(fd, fcntl.LOCK_EX), 'EBADF')]:
                is_(call.__code__.co_firstlineno, says(call), answer)
            if os.fork() == 0:
                # The lock of another process is seen: struct flock is type, whence, start, length, owner.
                import struct
                asked = fcntl.fcntl(other, fcntl.F_GETLK, struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0))
                is_('F_GETLK', struct.unpack('hhqqi', asked)[:4], (fcntl.F_RDLCK, 0, 9, 9))
                sys.stdout.flush(); os._exit(0)
            os.wait()
            watcher = libc.inotify_init1(os.O_NONBLOCK)
            is_('inotify', [libc.inotify_add_watch(watcher, p.encode(), 0xfff) > 0 for p in [D, F, R]], [True] * 3)
            os.close(os.open(D, os.O_RDONLY)); is_('an event', len(os.read(watcher, 4096)) > 0, True)
            """, isOrdinary: isOrdinary)
    }

    @Test("Sixteen threads that open, read and close one file 500 times each leave nothing open")
    func openAndClose() throws {
        let sample = try Sample()
        let before = try sample.mount.openFiles()
        try sample.check(
            """
            def work(number):
                for turn in range(500):
                    fd = os.open(D, os.O_RDONLY); offset = (turn * 16 + number) * 512 % size
                    is_(offset, os.pread(fd, 512, offset) == W[offset:offset + 512], True); os.close(fd)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            """)
        // One more: the image, which stays open for a while.
        #expect(try sample.mount.openFiles() <= before + 1)
        #expect(try sample.mount.document("disk.qcow2")["rblockfs", "counters", "opens"]?.number == 8000)
        // The kernel tells the server of the last close a little later.
        let stats = {
            try JSONValue(parsing: FileManager.default.contents(atPath: sample.mount.file("stats.json")) ?? Data())
        }
        #expect(try wait(seconds: 60) { try stats()["rblockfs", "open-files"]?.number ?? 9 <= 1 })
    }

    @Test("Who has a deleted image open goes on; when they are done, the host has its space back")
    func deleted() throws {
        let sample = try Sample()
        try Shell.check("cd \"$1\" && mkdir sub && cp disk.qcow2 other.qcow2 && cp disk.qcow2 sub/", sample.images)
        let others = [sample.mount.disk("other.qcow2"), sample.mount.disk("sub/disk.qcow2")]
        for other in others { #expect(try OpenedFile(other).read(9, at: 0).count == 9) }
        var file: OpenedFile? = try OpenedFile(sample.mount.disk("disk.qcow2"))
        let size = try #require(try file?.size())
        try Shell.check("rm -r \"$1\"/*", sample.images)
        let gone = { try Shell.check("ls -l /proc/\"$1\"/fd | grep -c '(deleted)' || true", "\(sample.mount.server)") }
        #expect(try wait(seconds: 60) { try Shell.check("ls \"$1\"", sample.mount.path) == "stats.json" })
        #expect(try file?.size() == size)
        #expect(try file?.read(1 << 23, at: 0) == [UInt8](FileManager.default.contents(atPath: sample.raw) ?? Data()))
        #expect(try wait(seconds: 60) { try gone() == "1" }, "The files that are not read are closed.")
        file = nil
        #expect(try wait(seconds: 60) { try gone() == "0" })
    }
}
