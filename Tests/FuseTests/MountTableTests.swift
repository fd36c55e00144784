import HostTools
import SystemPackage
import TestImages
import Testing

@testable import Fuse

struct `The table of mounts` {
    private let table = Array(
        """
        22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
        36 22 0:57 / /mnt/rb ro,nosuid shared:2 master:1 - fuse.rblockfs /srv/images ro,user_id=0
        37 22 0:58 / /mnt/with\\040blank ro - fuse.rblockfs x ro
        38 36 0:59 / /mnt/rb ro - fuse.rblockfs y ro
        39 22 0:60 / /mnt/other rw - fuse.sshfs z rw
        40 22 0:61

        """.utf8)

    @Test func `tells what is uppermost`() {
        let mount = MountedFileSystem(at: "/mnt/rb", in: table)
        #expect(mount?.device == "0:59" && mount?.type == "fuse.rblockfs")
        #expect(MountedFileSystem(at: "/mnt/with blank", in: table)?.device == "0:58")
        #expect(MountedFileSystem(at: "/mnt", in: table) == nil)
    }

    @Test func `tells where a type is mounted`() {
        #expect(
            MountedFileSystem.mountpoints(ofType: "fuse.rblockfs", in: table)
                == ["/mnt/rb", "/mnt/with blank", "/mnt/rb"])
        #expect(MountedFileSystem.mountpoints(ofType: "fuse", in: table) == [])
    }
}

struct `A mountpoint that is a descriptor` {
    @Test(
        arguments: [
            ("/dev/fd/0", 0), ("/dev/fd/3", 3), ("/dev/fd/1024", 1024), ("/dev/fd/", nil), ("/dev/fd/3/", nil),
            ("/dev/fd/-3", nil), ("/dev/fd/+3", nil), ("/dev/fd/3x", nil), ("/dev/fd/4294967299", nil),
            ("/dev/fd/٣", nil), ("/mnt/dev/fd/3", nil), ("/dev/fuse", nil),
        ] as [(String, Int32?)])
    func `is recognised`(mountpoint: String, descriptor: Int32?) {
        #expect(PassedDevice(mountpoint: mountpoint)?.descriptor == descriptor)
    }

    @Test func `must be the device of FUSE`() throws {
        let folder = try TemporaryFolder()
        let file = try OpenedFile(try folder.write([1], to: "file"))
        #expect(PassedDevice(mountpoint: "/dev/fd/\(file.descriptor)")?.isFuse == false)
        let null = try OpenedFile("/dev/null")
        #expect(PassedDevice(mountpoint: "/dev/fd/\(null.descriptor)")?.isFuse == false)
        #expect(PassedDevice(mountpoint: "/dev/fd/9999")?.isFuse == false)
        guard Tool.canMount() else { return }
        let device = try OpenedFile("/dev/fuse", flags: 2)
        #expect(PassedDevice(mountpoint: "/dev/fd/\(device.descriptor)")?.isFuse == true)
    }
}
