import Foundation
import HostTools
import TestImages
import Testing

@Suite("Disks that the kernel reads by itself", .enabled(if: Tool.canMount("qemu-img", "qemu-io", "cmp", "python3")))
struct KernelPathTests {
    /// Images that are stored flat: `odd.raw`, of no whole sector; `sector.raw`, of no whole page; `flat.vmdk`;
    /// `data.qcow2` with a raw data file, a part of which was made zeros. And `chain.qcow2` over `sector.raw`.
    private func makeImages() throws -> (folder: TemporaryFolder, images: String) {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        try Pattern.writeDisk("\(images)/odd.raw", size: 3_000_001, seed: 1)
        try Pattern.writeDisk("\(images)/sector.raw", size: 2 << 20 | 512 * 3, seed: 2)
        try Shell.check(
            """
            cd "$1"
            qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat sector.raw flat.vmdk
            qemu-img create -q -f qcow2 -o data_file=data.bin,data_file_raw=on data.qcow2 8M
            qemu-io -c 'write -q -P 7 1M 3M' -c 'write -q -z -u 2M 512k' -c 'write -q -P 8 8191k 1k' data.qcow2
            qemu-img create -q -f qcow2 -F raw -b sector.raw chain.qcow2
            qemu-io -c 'write -q -P 9 64k 64k' chain.qcow2
            """, images)
        return (folder, images)
    }

    private static let flat = ["odd.raw", "sector.raw", "flat.vmdk", "data.qcow2"]

    @Test("They are as qemu-img reads them, and the server sees no read", arguments: KernelPath.settings)
    func content(setting: String) throws {
        let (folder, images) = try makeImages()
        let mount = try Mount(images, kernelPath: setting)
        for name in Self.flat + ["chain.qcow2"] {
            let expected = name == "chain.qcow2" ? "server" : KernelPath.name(setting)
            #expect(try mount.kernelPath(name).name == expected, "\(name)")
            try Shell.check("cd \"$1\" && qemu-img convert -O raw \"$2\" \"$3\"", images, name, folder.file("oracle"))
            // qemu-img reads whole sectors.
            let size = try Status(mount.disk(name)).size
            try Shell.check("cmp -n $3 \"$1\" \"$2\"", folder.file("oracle"), mount.disk(name), "\(size)")
            let oracle = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("oracle"))).prefix(Int(size)))
            #expect(try OpenedFile(mount.disk(name)).mapped() == oracle, "\(name)")
            #expect(try (mount.reads(name) == 0) == (expected == "passthrough"), "\(name)")
            #expect(try mount.document(name)["rblock", "counters", "opens"]?.number == 2)
        }
        // The raw image under another one is flat as well.
        try Tool.check("cmp", "\(images)/sector.raw", mount.file("chain.qcow2/layers/1.raw"))
        let layers = try mount.document("chain.qcow2")["rblock", "layers"]?.array ?? []
        #expect(layers.compactMap { $0["kernel-path", "path"]?.text } == ["server", KernelPath.name(setting)])
    }

    @Test("Reads past the cache, and holes, are the same on both paths", arguments: KernelPath.settings)
    func directReadsAndHoles(setting: String) throws {
        let (folder, images) = try makeImages()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images, kernelPath: setting)
        for name in Self.flat {
            let file = ["data.qcow2": "data.bin", "flat.vmdk": "flat-flat.vmdk"][name] ?? name
            let wrong = try Python.run(
                """
                disk, file = (os.open(path, os.O_RDONLY | os.O_DIRECT) for path in sys.argv[1:3])
                memory = mmap.mmap(-1, 1 << 20)
                for offset in range(0, 9 << 20, 1 << 20):
                    is_('read at %d' % offset, os.preadv(disk, [memory], offset), max(0, min(1 << 20, os.fstat(file).st_size - offset)))
                disk = os.open(sys.argv[1], os.O_RDONLY)
                for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                    for offset in range(0, os.fstat(file).st_size, 50000):
                        try: expected = os.lseek(file, offset, whence)
                        except OSError: expected = None
                        try: found = os.lseek(disk, offset, whence)
                        except OSError: found = None
                        is_('seek', found, expected)
                """, mount.disk(name), "\(images)/\(file)")
            #expect(wrong == "", "\(name)")
        }
    }

    @Test("Where the file has bytes that the image calls zeros, the server reads them")
    func zerosOverBytes() throws {
        let (folder, images) = try makeImages()
        try Shell.check("printf x | dd of=\"$1/data.bin\" bs=1 seek=2200000 conv=notrunc status=none", images)
        let mount = try Mount(images)
        let (name, reason) = try mount.kernelPath("data.qcow2")
        #expect(name == "server")
        if KernelPath.passesThrough { #expect(reason?.contains("is zeros, and") == true, "\(reason ?? "")") }
        try Shell.check("cd \"$1\" && qemu-img convert -O raw data.qcow2 \"$2\"", images, folder.file("oracle"))
        try Tool.check("cmp", folder.file("oracle"), mount.disk("data.qcow2"))
    }

    @Test("Reading does not change when the image was last read", arguments: KernelPath.settings)
    func accessTime(setting: String) throws {
        let (folder, images) = try makeImages()
        defer { withExtendedLifetime(folder) {} }
        // The kernel changes a time that is older than the last change, whatever the mount of the images has.
        try Shell.check("touch -a -d 2001-01-01 \"$1\"/*", images)
        let mount = try Mount(images, kernelPath: setting)
        for name in Self.flat {
            try Shell.check(
                "cat \"$1\" >/dev/null; dd if=\"$1\" of=/dev/null iflag=direct bs=1M status=none", mount.disk(name))
            _ = try OpenedFile(mount.disk(name)).mapped()
        }
        #expect(try Shell.check("cd \"$1\" && stat -c %X * | sort -u", images) == "978307200")
    }

    @Test(
        "Loop devices have all sectors, also where the size is no multiple of a sector",
        .enabled(if: Tool.canUseLoopDevices()), arguments: KernelPath.settings, ["on", "off"])
    func loopDevices(setting: String, directIO: String) throws {
        let (folder, images) = try makeImages()
        defer { withExtendedLifetime(folder) {} }
        let mount = try Mount(images, kernelPath: setting)
        for name in Self.flat {
            let device = try LoopDevice(mount.disk(name), options: ["--direct-io=\(directIO)"])
            let size = try Status(mount.disk(name)).size / 512 * 512
            #expect(try Shell.check("blockdev --getsize64 \"$1\"", device.path) == "\(size)")
            try Shell.check("cmp -n $3 \"$1\" \"$2\"", device.path, mount.disk(name), "\(size)")
            try device.detach()
        }
    }

    @Test("Many who open one disk at once share one way of reading, also where others are killed while they open it")
    func manyReaders() throws {
        let memory = try Tool.isRoot ? HostFileSystem("tmpfs", size: 32 << 20) : nil
        let folder = try TemporaryFolder()
        let image = memory?.file("a.raw") ?? folder.file("a.raw")
        try Pattern.writeDisk(image, size: 4 << 20, seed: 5)
        let mount = try Mount(image)
        let wrong = try Python.run(
            """
            expected = contents(sys.argv[1])
            def work(seed):
                order = random.Random(seed)
                for turn in range(40):
                    kept = [os.open(sys.argv[2], os.O_RDONLY) for _ in range(order.randrange(1, 4))]
                    for file in kept:
                        offset = order.randrange(0, 4 << 20)
                        is_('read', os.pread(file, 8192, offset), expected[offset:offset + 8192])
                    for file in kept: os.close(file)
            def victim():
                while True: os.close(os.open(sys.argv[2], os.O_RDONLY))
            readers = [multiprocessing.Process(target=work, args=(seed,)) for seed in range(4)]
            for reader in readers: reader.start()
            while any(reader.is_alive() for reader in readers):
                process = multiprocessing.Process(target=victim)
                process.start()
                time.sleep(0.005)
                process.kill()
                process.join()
            for reader in readers: is_('status', reader.exitcode, 0)
            """, image, mount.disk("a.raw"))
        #expect(wrong == "")
        let stats = mount.file("stats.json")
        #expect(
            try wait(seconds: 30) {
                try JSONValue(parsing: FileManager.default.contents(atPath: stats) ?? Data())["rblock", "open-files"]?
                    .number == 0
            })
        // Nothing keeps the image: its space comes back.
        guard let memory else { return }
        try FileManager.default.removeItem(atPath: image)
        #expect(
            try wait(seconds: 60) {
                try Shell.check("stat -f -c '%b %f' \"$1\" | awk '{ print $1 - $2 }'", memory.path) == "0"
            })
    }
}
