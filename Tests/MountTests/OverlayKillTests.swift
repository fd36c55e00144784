import Foundation
import HostTools
import TestImages
import Testing

/// `make soak` has this run for long.
@Suite(
    .enabled(
        if: Tool.canUseLoopDevices("qemu-img", "python3", "sfdisk", "mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair")))
struct `A server of overlays` {
    /// A guest's file system on a disk of an image.
    private struct Guest {
        /// The image, and the file of its folder that has the file system.
        let image: String
        let file: String
        /// What repairs the device $1 as a machine does that boots, and then finds nothing wrong with it.
        let check: String

        private static let ext4 =
            "e2fsck -p \"$1\" >\"$2\" 2>&1 || [ $? = 1 ]; e2fsck -fn \"$1\" >\"$2\" 2>&1"

        static let all = [
            Guest(image: "a.qcow2", file: "disk.raw", check: ext4),
            Guest(image: "b.vmdk", file: "partitions/p1.raw", check: ext4),
            Guest(
                image: "c.raw", file: "disk.raw",
                // Its log is replayed by mounting it.
                check:
                    "mkdir -p \"$2.mnt\"; mount \"$1\" \"$2.mnt\"; umount \"$2.mnt\"; xfs_repair -n \"$1\" >\"$2\" 2>&1"
            ),
        ]

        static let images = """
            PATH=$PATH:/usr/sbin
            truncate -s 128M disk; mkfs.ext4 -q disk; qemu-img convert -f raw -O qcow2 disk a.qcow2; rm disk
            truncate -s 98M disk; printf 'label: gpt\\nstart=2048, size=196608\\n' | sfdisk -q disk
            mkfs.ext4 -q -E offset=1048576 disk 96M; qemu-img convert -f raw -O vmdk disk b.vmdk; rm disk
            truncate -s 320M c.raw; mkfs.xfs -q c.raw
            """
    }

    @Test func `that is killed leaves sound overlays, good file systems, and all that was synced`() throws {
        let folder = try OverlaidFolder(Guest.images)
        let turns = Soak.count(5, long: 1000)
        try Soak.keeping(folder.folder) {
            var random = SeededRandom(seed: Soak.seed)
            for turn in 1...turns {
                let guest = Guest.all[turn % Guest.all.count]
                try kill(guest, folder, turn, delay: Double.random(in: 0..<1, using: &random), seed: random.next())
                if turn % 25 == 0 || turn == turns { Soak.note("\(turn) of \(turns) kills") }
            }
            // What a server that was killed had taken, and used for nothing yet, is lost space and nothing else.
            let mount = try folder.mount()
            try folder.end(mount, mayLeak: true)
            for guest in Guest.all where access(folder.overlay(guest.image), F_OK) == 0 {
                try Tool.check("qemu-img", "check", "-q", "-f", "qcow2", "-r", "leaks", folder.overlay(guest.image))
            }
            try folder.checkOverlays()
        }
    }

    /// Checks what the last time left of `guest`, has it write, and kills the server meanwhile.
    private func kill(_ guest: Guest, _ folder: OverlaidFolder, _ turn: Int, delay: Double, seed: UInt64) throws {
        let mount = try folder.mount()
        do {
            let device = try LoopDevice(
                mount.file("\(guest.image)/\(guest.file)"), isWritable: true,
                options: ["--direct-io=\(turn % 2 == 0 ? "on" : "off")"])
            let report = folder.folder.file("report")
            let check = try Shell.run("set -e; PATH=$PATH:/usr/sbin; " + guest.check, device.path, report)
            let said = (try? String(contentsOfFile: report, encoding: .utf8)) ?? ""
            try #require(check.status == 0, "turn \(turn): \(guest.image): \(said)\(check.errors)")
            let files = try DeviceMount(device, options: turn % 4 < 2 ? "rw,discard" : "rw")
            let wrong = try Python.run(
                Self.program, files.path, folder.folder.file("synced-\(guest.image)"), "\(mount.server)", "\(delay)",
                "\(seed)", timeout: 600)
            try #require(wrong == "", "turn \(turn): \(guest.image): \(wrong)")
            try #require(mount.waitForEnd())
            _ = try Tool.run("umount", ["-l", files.path])
        }
        _ = try Tool.run("umount", ["-l", mount.path])
        try folder.checkOverlays(mayLeak: true)
    }

    /// Looks whether the file system argv[1] has all that was synced according to the file argv[2], which lies elsewhere;
    /// then writes in several ways, and kills the process argv[3] after a while.
    private static let program = """
        folder, table, server, delay, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
        slots = 256
        # How many records are synced, the number of the file `kept`, and for each slot what is synced and what was begun.
        fields = 3 + 2 * slots
        with open(table, 'ab') as f: f.truncate(fields * 8)
        file = open(table, 'r+b'); memory = mmap.mmap(file.fileno(), fields * 8)
        synced = memoryview(memory).cast('Q'); is_killed = fields - 1
        os.chdir(folder)
        def record(number): return (b'%016d' % number) * 256
        def sector(slot, number): return (b'%04d %010d ' % (slot, number)) * 32

        # What was synced.
        wrong = []
        def say(text): print(text); wrong.append(text)
        if synced[0]:
            log = contents('log')
            for number in range(synced[0]):
                if log[number * 4096:number * 4096 + 4096] != record(number):
                    say('record %d of %d that are synced is wrong, of %d bytes' % (number, synced[0], len(log))); break
        if synced[1]:
            kept = contents('kept')
            if int(kept[:16]) < synced[1] or kept != record(int(kept[:16])):
                say('kept: %r, and %d is synced' % (kept[:16], synced[1]))
        if any(synced[2:2 + slots]):
            have = contents('slots')
            for slot in range(slots):
                least, most = synced[2 + slot], synced[2 + slots + slot]
                for at in range(slot * 4096, slot * 4096 + 4096, 512):
                    got = have[at:at + 512]; number = int(got[5:15] or 0) if got[5:15].isdigit() else 0
                    if got == bytes(512) and least == 0: continue
                    if not least <= number <= most or got != sector(slot, number):
                        say('slot %d at %d: %r, not %d to %d' % (slot, at, got[:16], least, most)); break

        # The evidence stays.
        sys.stdout.flush()
        if wrong: sys.exit()

        # Writing goes on. What is answered after the kill does not count: where one process had a journal written, and that
        # failed, ext4 may tell another that there is nothing to write.
        synced[is_killed] = 0
        def note(field, number):
            if not synced[is_killed]: synced[field] = number
        def append():
            log = os.open('log', os.O_RDWR | os.O_CREAT, 0o600); synced[0] = 0; os.ftruncate(log, 0)
            for number in range(1000):
                os.pwrite(log, record(number), number * 4096); os.fsync(log); note(0, number + 1)
        def replace():
            number = synced[1]
            while True:
                number += 1
                f = os.open('new', os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600); os.write(f, record(number)); os.fsync(f)
                os.close(f); os.rename('new', 'kept')
                d = os.open('.', os.O_RDONLY); os.fsync(d); os.close(d); note(1, number)
        def overwrite():
            rand = random.Random(seed); f = os.open('slots', os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(f, slots * 4096); first = max(synced[2:is_killed]) + 1
            for number in range(first, first + 1000000):
                some = rand.sample(range(slots), 8)
                for slot in some:
                    synced[2 + slots + slot] = number; os.pwrite(f, sector(slot, number) * 8, slot * 4096)
                os.fdatasync(f)
                for slot in some: note(2 + slot, number)
        def churn():
            rand = random.Random(seed + 1)
            for turn in range(1000000):
                name = 'many%d' % rand.randrange(100)
                if rand.random() < 0.4 and os.path.exists(name): os.unlink(name)
                else:
                    with open(name, 'wb') as f: f.write(rand.randbytes(rand.choice([100, 5000, 50000, 300000])))
                if turn % 50 == 49: os.sync()
        def until_it_ends(work):
            try: work()
            except OSError as e:
                if e.errno not in (errno.EIO, errno.EROFS, errno.ENOTCONN, errno.ENODEV, errno.ESHUTDOWN, errno.ENXIO):
                    print(work.__name__, e)
            sys.stdout.flush(); os._exit(0)
        children = []
        for work in (append, replace, overwrite, churn):
            child = os.fork()
            if not child: until_it_ends(work)
            children.append(child)
        time.sleep(delay); synced[is_killed] = 1; os.kill(server, 9)
        end = time.time() + 120
        for child in children:
            while os.waitpid(child, os.WNOHANG)[0] == 0:
                if time.time() > end: print('a writer goes on'); os.kill(child, 9); break
                time.sleep(0.01)
        """
}
