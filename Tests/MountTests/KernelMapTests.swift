import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "Disks that the kernel reads by a map of their files",
    .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "python3", "sfdisk")))
struct KernelMapTests {
    /// What `stats.json` calls the way of a disk that lies in its files in pieces.
    private static let name = KernelPath.maps ? "map" : "server"

    /// Images of all kinds, whose disks are no multiples of a page, of a cluster or of a grain; and `stream.vmdk`, of which
    /// nothing is stored as it is.
    private static let images = [
        "c512.qcow2", "c4k.qcow2", "c64k.qcow2", "c2m.qcow2", "mixed.qcow2", "luks.qcow2", "chain.qcow2", "sparse.vmdk",
        "split.vmdk",
    ]

    private func makeImages() throws -> (folder: TemporaryFolder, images: String) {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk(folder.file("source"), size: 5 << 20 | 7 * 512, seed: 3)
        try Shell.check(
            """
            cd "$1"; source=../source
            printf 'label: dos\\n2048,4096,83\\n6144,,83\\n' | sfdisk -q $source
            for size in 512 4k 64k 2M; do qemu-img convert -O qcow2 -o cluster_size=$size $source c$size.qcow2; done
            mv c2M.qcow2 c2m.qcow2
            qemu-img create -q -f qcow2 mixed.qcow2 5246464
            qemu-io -f qcow2 -c 'write -q -s ../source 0 1M' -c 'write -q -c -s ../source 1M 64k' \\
                -c 'write -q -c -P 9 4M 64k' mixed.qcow2
            qemu-img snapshot -c before mixed.qcow2; qemu-io -f qcow2 -c 'write -q -P 3 512k 2M' mixed.qcow2
            qemu-img create -q -f qcow2 -b c4k.qcow2 -F qcow2 middle.qcow2
            qemu-io -f qcow2 -c 'write -q -P 4 1M 3k' -c 'write -q -P 5 3M 700k' middle.qcow2
            qemu-img create -q -f qcow2 -o cluster_size=512 -b middle.qcow2 -F qcow2 chain.qcow2
            qemu-io -f qcow2 -c 'write -q -P 6 1M 1k' -c 'write -q -z 2M 100k' chain.qcow2
            for kind in monolithicSparse=sparse twoGbMaxExtentSparse=split streamOptimized=stream; do
                qemu-img convert -O vmdk -o subformat=${kind%=*} $source ${kind#*=}.vmdk
            done
            qemu-img create -q -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s \\
                -o encrypt.iter-time=10 luks.qcow2 5246464
            qemu-io --object secret,id=s,data=abc --image-opts -c 'write -q -s ../source 0 2M' \\
                driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2
            # What is not encrypted lies under it.
            qemu-img rebase -u -b c64k.qcow2 -F qcow2 --image-opts --object secret,id=s,data=abc \\
                driver=qcow2,encrypt.key-secret=s,file.filename=luks.qcow2
            printf abc >../secret
            """, images)
        return (folder, images)
    }

    /// Copies a disk by qemu-img, and answers the path of the copy.
    private func convert(_ name: String, of images: String, in folder: TemporaryFolder, options: String = "") throws
        -> String
    {
        let format = name.hasSuffix("vmdk") ? "vmdk" : "qcow2"
        let key = name == "luks.qcow2" ? ",encrypt.key-secret=s" : ""
        try Shell.check(
            """
            cd "$1"; qemu-img convert -q -U --object secret,id=s,data=abc $4 --image-opts \\
                driver=$3,file.filename="$2"$5 -O raw ../judge
            """, images, name, format, options, key)
        return folder.file("judge")
    }

    private func mount(_ images: String, in folder: TemporaryFolder) throws -> Mount {
        try Mount(
            images, options: ["--kernel-path", "map", "--secret", "luks.qcow2=file:\(folder.file("secret"))"])
    }

    @Test("They are as qemu-img reads them, with snapshots and partitions, and the server sees no read of them")
    func content() throws {
        let (folder, images) = try makeImages()
        let mount = try mount(images, in: folder)
        for name in Self.images {
            let disk = try OpenedFile(mount.disk(name))
            let (way, reason) = try mount.kernelPath(name)
            #expect(way == Self.name, "\(name): \(reason ?? "")")
            withExtendedLifetime(disk) {}
            let judge = try convert(name, of: images, in: folder)
            try Tool.check("cmp", mount.disk(name), judge)
            let size = try Status(mount.disk(name)).size
            try Shell.check("cmp -i 0:$3 -n $4 \"$1\" \"$2\"", mount.disk(name), judge, "0", "\(size)")
            #expect(
                areSame(try OpenedFile(mount.disk(name)).mapped(), try Data(contentsOf: URL(fileURLWithPath: judge))))
            #expect(try (mount.reads(name) == 0) == (way == "map"), "\(name)")
        }
        let judge = try convert("mixed.qcow2", of: images, in: folder, options: "-l before")
        try Tool.check("cmp", mount.file("mixed.qcow2/snapshots/before/disk.raw"), judge)
        let whole = try convert("c64k.qcow2", of: images, in: folder)
        try Shell.check(
            "cmp -n 2097152 -i 0:1048576 \"$1/p1.raw\" \"$2\"; cmp -i 0:3145728 \"$1/p2.raw\" \"$2\"",
            mount.file("c64k.qcow2/partitions"), whole)
        try Tool.check(
            "cmp", mount.file("chain.qcow2/layers/1.raw"), try convert("middle.qcow2", of: images, in: folder))
    }

    @Test("One of which nothing is stored as it is, is read through the server, and stats.json says why")
    func nothingToMap() throws {
        let (folder, images) = try makeImages()
        let mount = try mount(images, in: folder)
        try Tool.check("cmp", mount.disk("stream.vmdk"), try convert("stream.vmdk", of: images, in: folder))
        let (name, reason) = try mount.kernelPath("stream.vmdk")
        #expect(name == "server" && reason?.contains(KernelPath.maps ? "in a regular file as it is" : "FUSE") == true)
        let ways = try JSONValue(parsing: FileManager.default.contents(atPath: mount.file("stats.json")) ?? Data())
        #expect(
            ways["rblock", "kernel-path", "available"]?.array?.compactMap(\.text)
                == (KernelPath.maps ? ["passthrough", "map"] : KernelPath.passesThrough ? ["passthrough"] : []))
    }

    /// How many maps the server has open.
    private func maps(_ mount: Mount) throws -> Int {
        let folder = "/proc/\(mount.server)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder).count {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")) == "/disk.raw"
        }
    }

    @Test("No map is made to describe a disk, nor while another program has a file open for writing")
    func noMap() throws {
        let (folder, images) = try makeImages()
        let mount = try mount(images, in: folder)
        let (name, reason) = try mount.kernelPath("c4k.qcow2")
        #expect(name == "server" && (!KernelPath.maps || reason?.contains("is mapped when it is opened") == true))
        #expect(try maps(mount) == 0)
        let writer = try OpenedFile(images + "/c4k.qcow2", flags: O_RDWR)
        // As QEMU locks what it has open for writing: F_OFD_SETLK.
        let setLock: CInt = 37
        var lock = flock()
        lock.l_type = Int16(F_RDLCK)
        (lock.l_start, lock.l_len) = (101, 1)
        try #require(fcntl(writer.descriptor, setLock, &lock) == 0)
        try Tool.check("cmp", mount.disk("c4k.qcow2"), try convert("c4k.qcow2", of: images, in: folder))
        #expect(try maps(mount) == 0)
        let locked = try mount.kernelPath("c4k.qcow2")
        #expect(locked.name == "server" && (!KernelPath.maps || locked.reason?.contains("open for writing") == true))
        lock.l_type = Int16(F_UNLCK)
        try #require(fcntl(writer.descriptor, setLock, &lock) == 0)
        try Tool.check("cat", mount.disk("c4k.qcow2"))
        #expect(try maps(mount) == (KernelPath.maps ? 1 : 0))
    }

    @Test("Reading does not change when the images were last read", .enabled(if: Tool.isRoot))
    func accessTimes() throws {
        let (folder, images) = try makeImages()
        let mount = try mount(images, in: folder)
        try Shell.check("touch -a -d 2001-01-01T00:00:00Z \"$1\"/*", images)
        for name in Self.images { try Tool.check("cat", mount.disk(name)) }
        #expect(try Shell.check("cd \"$1\" && stat -c %X * | sort -u", images) == "978307200")
        withExtendedLifetime(folder) {}
    }

    @Test("A reader past the page cache is served by the server, and refused while the map is open")
    func directIO() throws {
        let (folder, images) = try makeImages()
        let mount = try mount(images, in: folder)
        let judge = try convert("mixed.qcow2", of: images, in: folder)
        let output = try Python.run(
            """
            disk, judge, maps = sys.argv[1], contents(sys.argv[2]), sys.argv[3] == 'map'
            memory = mmap.mmap(-1, 1 << 20)
            direct = os.open(disk, os.O_RDONLY | os.O_DIRECT)
            is_('direct', os.preadv(direct, [memory], 1 << 20), 1 << 20)
            is_('direct', memory[:] == judge[1 << 20:2 << 20], True)
            # Beside such a reader, all are served by the server.
            is_('beside', contents(disk) == judge, True)
            os.close(direct)
            time.sleep(0.1)
            cached = os.open(disk, os.O_RDONLY)
            is_('cached', os.pread(cached, 4096, 0), judge[:4096])
            is_('refused', says(os.open, disk, os.O_RDONLY | os.O_DIRECT), 'EINVAL' if maps else None)
            for flags in os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_TRUNC:
                is_('for writing', says(os.open, disk, flags), 'EROFS')
            """, mount.disk("mixed.qcow2"), judge, Self.name)
        #expect(output == "")
    }

    @Test("Loop devices have all of it, through the page cache and past it", .enabled(if: Tool.canUseLoopDevices()))
    func loopDevices() throws {
        let (folder, images) = try makeImages()
        let mount = try mount(images, in: folder)
        for (name, directIO) in [("c64k.qcow2", "off"), ("mixed.qcow2", "off"), ("c512.qcow2", "on")] {
            let judge = try convert(name, of: images, in: folder)
            let device = try LoopDevice(mount.disk(name), options: ["--direct-io=\(directIO)"])
            #expect(try Shell.check("blockdev --getsize64 \"$1\"", device.path) == "5246464")
            try Tool.check("cmp", device.path, judge)
            try device.detach()
        }
    }
}
