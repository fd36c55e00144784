import Foundation
import HostTools
import TestImages
import Testing

@Suite("Nothing can be written", .enabled(if: Tool.canMount("qemu-img", "python3")))
struct ReadOnlyTests {
    /// Calls of Python's os module that would change something; D is disk.raw, F its folder, R the root.
    static let calls = [
        "os.open(D, os.O_WRONLY)", "os.open(D, os.O_RDWR)", "os.open(D, os.O_RDONLY | os.O_TRUNC)",
        "os.open(F + '/new', os.O_CREAT | os.O_WRONLY)", "os.open(D, os.O_WRONLY | os.O_APPEND)",
        "os.open(R + '/new', os.O_CREAT | os.O_RDONLY)", "os.open(F + '/stats.json', os.O_WRONLY)",
        "os.mkdir(F + '/new')", "os.mkdir(R + '/new.qcow2')", "os.unlink(D)", "os.rmdir(F)",
        "os.rename(D, F + '/new')", "os.rename(F, R + '/new')", "os.chmod(D, 0o644)", "os.chmod(F, 0o755)",
        "os.chown(D, 1, 1)", "os.truncate(D, 0)", "os.utime(D)", "os.link(D, F + '/new')",
        "os.symlink('x', F + '/new')", "os.mkfifo(F + '/new')", "os.setxattr(D, 'user.a', b'1')",
        "os.removexattr(D, 'user.a')",
    ]

    private static func failures(_ mount: Mount, _ image: String) throws -> [String] {
        let script = """
            import errno, os, sys
            R, F, D = sys.argv[1], sys.argv[1] + '/' + sys.argv[2], sys.argv[1] + '/' + sys.argv[2] + '/disk.raw'
            for call in sys.argv[3:]:
                try: eval(call); print(call, 'succeeded')
                except OSError as e:
                    if e.errno != errno.EROFS: print(call, os.strerror(e.errno))
            """
        let result = try Tool.run("python3", ["-c", script, mount.path, image] + calls)
        #expect(result.status == 0, "\(result.errors)")
        return result.text.split(separator: "\n").map(String.init)
    }

    /// The kernel reads the last ones by itself, where it can.
    static let images = ["plain.qcow2", "disk.raw", "flat.vmdk"]

    @Test("Every call that would change something is refused with EROFS", arguments: images)
    func refused(name: String) throws {
        let gallery = try Gallery([name], seed: 1)
        let before = try gallery.checksums()
        let mount = try Mount(gallery.images)
        #expect(try Self.failures(mount, name) == [])
        try mount.unmount()
        #expect(try gallery.checksums() == before)
    }

    @Test("So it is after the kernel was told to remount it for writing", .enabled(if: Tool.isRoot), arguments: images)
    func remounted(name: String) throws {
        let gallery = try Gallery([name], seed: 2)
        let before = try gallery.checksums()
        let mount = try Mount(gallery.images)
        try Tool.check("mount", "-i", "-o", "remount,rw", mount.path)
        #expect(try Self.failures(mount, name) == [])
        // Also while it is open for reading: then its inode is bound to one way of reading.
        var reader: OpenedFile? = try OpenedFile(mount.disk(name))
        #expect(try reader?.read(512, at: 0).count == 512)
        #expect(try Self.failures(mount, name) == [])
        reader = nil
        try mount.unmount()
        #expect(try gallery.checksums() == before)
    }
}
