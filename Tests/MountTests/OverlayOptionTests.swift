import Foundation
import HostTools
import TestImages
import Testing

/// What can be said of overlays when they are made, and of the mount that has them. The judge is qemu-img.
@Suite(.enabled(if: Tool.canMount("qemu-img", "qemu-io", "python3")))
struct `An overlay that is made as is said` {
    private static let images = """
        head -c 5M /dev/urandom >a.raw; truncate -s 16M a.raw; qemu-img convert -f raw -O vmdk a.raw b.vmdk
        """

    private static let change = """
        for disk in "$@"; do
          for at in 0 70001 3000000 9000123 16700000; do
            head -c 9000 /dev/urandom | dd of="$disk" bs=1 seek=$at conv=notrunc status=none
          done
          head -c 2M /dev/urandom | dd of="$disk" bs=64k seek=100 conv=notrunc status=none; fallocate -p -o 1M -l 1500000 "$disk"
        done
        """

    /// What is said, and what qemu-img is to say: the bytes of a cluster, whether they have subclusters, and the bits of a refcount.
    struct Way: Sendable {
        var options: [String]
        var cluster: Int
        var isExtended: Bool
        var bits = 16
    }

    @Test(arguments: [
        Way(options: [], cluster: 65536, isExtended: true),
        Way(
            options: ["--overlay-options", "cluster_size=512,refcount_bits=64"], cluster: 512, isExtended: false,
            bits: 64),
        Way(
            options: ["--overlay-options", "cluster_size=4k", "--overlay-options", "refcount_bits=1"], cluster: 4096,
            isExtended: false, bits: 1),
        Way(options: ["--overlay-options", "extended_l2=off,compat=1.1"], cluster: 65536, isExtended: false),
        Way(
            options: ["-o", "overlay_options=cluster_size=2M,overlay_options=refcount_bits=8"], cluster: 2 << 20,
            isExtended: true, bits: 8),
        Way(options: ["--overlay-options", "cluster_size=16384"], cluster: 16384, isExtended: true),
    ])
    func `has these clusters, and the bytes that the mount showed`(way: Way) throws {
        let folder = try OverlaidFolder(Self.images)
        var digests: [String: String] = [:]
        // The second mount says nothing: what is there stays as it is.
        for options in [way.options, []] {
            let mount = try Mount(folder.images, options: ["--overlay", folder.overlays] + options)
            _ = try Shell.check(Self.change, arguments: ["a.raw", "b.vmdk"].map(mount.disk))
            for image in ["a.raw", "b.vmdk"] { digests[image] = try folder.digest(image, mount) }
            try folder.end(mount)
            for (image, digest) in digests {
                #expect(try folder.digestByQEMU(image) == digest, "\(image)")
                let info = try JSONValue(
                    parsing: try Tool.check("qemu-img", "info", "-f", "qcow2", "--output=json", folder.overlay(image)))
                let more = info["format-specific", "data"]
                #expect(info["cluster-size"]?.number == way.cluster, "\(info)")
                #expect(more?["extended-l2"] == .bool(way.isExtended) && more?["compat"]?.text == "1.1", "\(info)")
                #expect(more?["refcount-bits"]?.number == way.bits, "\(info)")
            }
        }
    }

    @Test func `is none where that cannot be`() throws {
        let folder = try OverlaidFolder("qemu-img create -q -f qcow2 large.qcow2 200G; truncate -s 1M small.raw")
        let mountpoint = try folder.folder.makeFolder("none")
        for (options, message) in [
            (
                "lazy_refcounts=on",
                "an overlay has none of this name; it has cluster_size, refcount_bits, extended_l2, compat"
            ),
            ("preallocation=full", "an overlay has none of this name"),
            ("encrypt.format=luks", "an overlay has none of this name"),
            ("compat=0.10", "must be 1.1 (or v3)"), ("cluster_size=3000", "must be a power of two from 512 to 2097152"),
            ("cluster_size=4k,extended_l2=on", "at least 16384 for extended_l2"), ("refcount_bits=5", "from 1 to 64"),
            ("help", "refcount_bits (the bits of a refcount"),
        ] {
            let result = try Tool.run(
                Tool.rblockfs,
                ["--overlay", folder.overlays, "--overlay-options", options, folder.images, mountpoint])
            #expect(result.status == 64 && result.errors.contains(message), "\(options): \(result)")
        }
        #expect(!FileManager.default.fileExists(atPath: folder.overlays))
        // A table for so many small clusters would be too large.
        let mount = try folder.mount("--overlay-options", "cluster_size=512")
        let refused = try Shell.run("printf x | dd of=\"$1\" conv=notrunc status=none", mount.disk("large.qcow2"))
        #expect(refused.status != 0 && refused.errors.contains("Read-only file system"), "\(refused)")
        let facts = try mount.document("large.qcow2")["rblock", "overlay"]
        #expect(
            facts?["write-error", "message"]?.text?.contains("needs a larger cluster_size") == true, "\(facts as Any)")
        try Shell.check("printf x | dd of=\"$1\" conv=notrunc status=none", mount.disk("small.raw"))
        try folder.end(mount)
    }

    @Test func `is written to without locks where that is said, by one server all the same`() throws {
        let folder = try OverlaidFolder("truncate -s 1M a.raw")
        let said = try Python.run(
            """
            import subprocess
            user = subprocess.Popen(['qemu-io', '-f', 'raw', sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            user.stdin.write(b'read 0 512\\n'); user.stdin.flush(); user.stdout.readline()
            for options, wanted in [([], 'EBUSY'), (['--no-lock'], None), (['-o', 'no_lock'], None)]:
                mount = [sys.argv[2], '--overlay', sys.argv[3]] + options + [os.path.dirname(sys.argv[1])]
                subprocess.run(mount + [sys.argv[4]], check=True)
                f = os.open(sys.argv[4] + '/a.raw/disk.raw', os.O_RDWR | os.O_SYNC)
                is_(options, says(os.pwrite, f, b'x', 0), wanted)
                os.close(f)
                other = subprocess.run(mount + ['--no-lock', sys.argv[5]], capture_output=True, text=True)
                is_('another server', 'another program has these overlays' in other.stderr and other.returncode, 73)
                subprocess.run([sys.argv[6], 'unmount', sys.argv[4]], check=True)
            user.stdin.close(); user.wait()
            """, "\(folder.images)/a.raw", Tool.rblockfs, folder.overlays,
            try Self.mountpoint(in: folder, "mnt"), try Self.mountpoint(in: folder, "other"), Tool.rblock)
        #expect(said == "", "\(said)")
        try folder.checkOverlays()
    }

    private static func mountpoint(in folder: OverlaidFolder, _ name: String) throws -> String {
        let path = try folder.folder.makeFolder(name)
        try Mount.register(path)
        return path
    }

    @Test func `is shown, and not written to, by a mount with ro`() throws {
        let folder = try OverlaidFolder(Self.images)
        var mount = try folder.mount()
        try Shell.check(Self.change, mount.disk("a.raw"))
        let digest = try folder.digest("a.raw", mount)
        try folder.end(mount)
        let sum = try Shell.check("sha256sum \"$1\"", folder.overlay("a.raw"))
        mount = try folder.mount("-o", "ro")
        #expect(try folder.digest("a.raw", mount) == digest)
        let state = try Shell.check(
            "grep \" $2 \" /proc/mounts | cut -d' ' -f4 | cut -c 1-3; stat -c %a \"$1\"", mount.disk("a.raw"),
            mount.path)
        #expect(state == "ro,\n444")
        for image in ["a.raw", "b.vmdk"] {
            let refused = try Shell.run(Self.change, mount.disk(image))
            #expect(refused.status != 0 && refused.errors.contains("Read-only file system"), "\(refused)")
        }
        try folder.end(mount)
        #expect(
            try Shell.check("sha256sum \"$1\"; ls \"$2\" | wc -l", folder.overlay("a.raw"), folder.overlays) == sum
                + "\n1")
        // Of both, the last one counts.
        mount = try folder.mount("-o", "ro,noatime", "-o", "rw")
        try Shell.check(Self.change, mount.disk("b.vmdk"))
        try folder.end(mount)
    }

    @Test func `is never made where a link leads out of its folder`() throws {
        let folder = try OverlaidFolder("mkdir sub; truncate -s 1M sub/a.raw b.raw c.raw; mkdir new")
        try Shell.check(
            """
            cd "$1"; mkdir overlays elsewhere; ln -s ../elsewhere overlays/sub; ln -s ../elsewhere/b overlays/b.raw.overlay.qcow2
            """, folder.folder.path)
        let mount = try folder.mount()
        for image in ["sub/a.raw", "b.raw"] {
            let error = try mount.document(image)["error"]
            #expect(error?["code"]?.text == "denied", "\(image): \(error as Any)")
            #expect(error?["message"]?.text?.contains("is a link, or a link leads there") == true)
            #expect(access(mount.disk(image), F_OK) != 0)
        }
        try Shell.check("printf x | dd of=\"$1\" conv=notrunc status=none", mount.disk("c.raw"))
        try mount.unmount(patience: 200)
        #expect(
            try Shell.check("cd \"$1\"; ls elsewhere; ls overlays", folder.folder.path)
                == "b.raw.overlay.qcow2\nc.raw.overlay.qcow2\nsub")
    }

    @Test func `has its disk be as old as what was written last`() throws {
        let folder = try OverlaidFolder("truncate -s 1M a.raw; touch -d 2001-01-01 a.raw")
        var mount = try folder.mount()
        #expect(try Shell.check("stat -c %Y \"$1\"", mount.disk("a.raw")) == Shell.check("date -d 2001-01-01 +%s"))
        try Shell.check("printf x | dd of=\"$1\" conv=notrunc status=none", mount.disk("a.raw"))
        try folder.end(mount)
        try Shell.check("touch -d 2002-02-02 \"$1\"", folder.overlay("a.raw"))
        mount = try folder.mount()
        let said = try Python.run(
            """
            begin = os.stat(sys.argv[1]).st_mtime
            f = os.open(sys.argv[1], os.O_RDWR)
            def newer(what, than):
                for _ in range(300):
                    now = os.stat(sys.argv[1]).st_mtime
                    if now > than: return now
                    time.sleep(0.1)
                print(what, 'stays', than)
            is_('of before', time.gmtime(begin).tm_year, 2002)
            os.pwrite(f, b'y', 0); os.fsync(f)
            # While it is open, once nothing is written for a moment.
            then = newer('when it is idle', begin)
            is_('now', time.gmtime(then).tm_year > 2020, True)
            time.sleep(0.1); os.pwrite(f, b'z', 0); os.close(f)
            newer('when it is closed', then)
            """, mount.disk("a.raw"))
        #expect(said == "", "\(said)")
        try folder.end(mount)
    }
}
