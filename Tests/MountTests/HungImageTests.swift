import Foundation
import HostTools
import TestImages
import Testing

/// A mount of a folder whose files hang on demand: `a.qcow2`, `b.raw` and `vm.ova`, and many more `cN.raw`.
private final class HungMount {
    let folder: TemporaryFolder
    let faults: FaultFolder
    let mount: Mount
    private var clients = 0

    /// Mounted with `options`.
    init(_ options: [String] = []) throws {
        folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        for name in ["b.raw"] + (1...12).map({ "c\($0).raw" }) {
            try Pattern.writeDisk("\(images)/\(name)", size: 4 << 20, seed: 1)
        }
        try Shell.check(
            "cd \"$1\" && qemu-img convert -O qcow2 b.raw a.qcow2 && tar -cf vm.ova b.raw a.qcow2", images)
        faults = try FaultFolder(images)
        mount = try Mount(faults.path, options: options)
        // What the kernel knows of the names and attributes must not answer for the server.
        try Shell.check("ls -l \"$1\" >/dev/null", mount.path)
    }

    deinit {
        try? faults.clear()
    }

    /// Runs `script` by itself, `count` times, with `path` as $1 and its own number as $2. Answers the path of the file
    /// that says when all have ended.
    func start(_ count: Int = 1, _ path: String, _ script: String) throws -> String {
        clients += 1
        let done = folder.file("done\(clients)")
        try Shell.check(
            """
            (for i in $(seq "$3"); do bash -c "$4" bash "$1" $i & done; wait; touch "$2") </dev/null >/dev/null 2>&1 &
            disown
            """, path, done, "\(count)", script)
        return done
    }

    /// Whether all that use anything but the hung images are answered in time.
    func servesOthers() throws -> Bool {
        let done = try start(
            1, mount.path,
            """
            set -e; cd "$1"; ls -l b.raw; cat b.raw/stats.json stats.json; ls
            dd if=b.raw/disk.raw bs=64k iflag=direct; cat b.raw/map.json
            """)
        return wait(seconds: 20) { FileManager.default.fileExists(atPath: done) }
    }
}

@Suite(
    "An image on a disk that hangs", .serialized,
    .enabled(if: Tool.canFault("qemu-img", "getfattr", "dd", "tar")), .timeLimit(.minutes(5)))
struct HungImageTests {
    /// What 24 programs ask for at once, of what, and what hangs of it.
    static let requests:
        [(name: String, operation: FaultFolder.Operation, file: String, path: String, script: String)] =
            [
                (
                    "reads", .read, "a.qcow2", "a.qcow2/disk.raw",
                    "dd if=\"$1\" bs=64k count=1 skip=$2 iflag=direct"
                ),
                ("attributes", .stat, "a.qcow2", "a.qcow2/disk.raw", "stat \"$1\""),
                ("stats.json", .open, "a.qcow2", "a.qcow2/stats.json", "cat \"$1\""),
                (
                    "extended attributes", .open, "a.qcow2", "a.qcow2",
                    "getfattr --absolute-names -n user.rblock.format \"$1\""
                ),
                ("listings", .open, "a.qcow2", "a.qcow2", "ls -l \"$1\""),
                ("stats.json of an appliance", .open, "vm.ova", "vm.ova/stats.json", "cat \"$1\""),
                ("listings of an appliance", .read, "vm.ova", "vm.ova", "ls -lR \"$1\""),
                ("files of its guest", .read, "a.qcow2", "a.qcow2/files.error", "cat \"$1\""),
            ]

    @Test("Whatever 24 programs ask of it, all others are served", arguments: requests.indices)
    func serving(index: Int) throws {
        let request = Self.requests[index]
        let hung = try HungMount(request.path.contains("files") ? ["--files"] : [])
        try hung.faults.hang(request.operation, of: request.file)
        let done = try hung.start(24, hung.mount.file(request.path), request.script)
        #expect(try hung.faults.waitForHeld(), "\(request.name)")
        usleep(300_000)
        #expect(try hung.servesOthers(), "24 \(request.name)")
        try hung.faults.clear()
        #expect(wait(seconds: 30) { FileManager.default.fileExists(atPath: done) }, "\(request.name) are answered")
        try hung.mount.unmount()
    }

    @Test(
        "Whatever 50 programs ask of it at once, in any order, all others are served", arguments: [1, 2, 3] as [UInt64])
    func anything(seed: UInt64) throws {
        let hung = try HungMount()
        var random = SeededRandom(seed: seed)
        var operations: [FaultFolder.Operation] = [.stat, .open, .read, .close]
        operations.shuffle(using: &random)
        for operation in operations.prefix(Int.random(in: 1...4, using: &random)) {
            for file in ["a.qcow2", "vm.ova"] { try hung.faults.hang(operation, of: file) }
        }
        // Each leaves the hung ones behind itself, so that they are closed as well.
        let scripts =
            Self.requests.map { ($0.path, $0.script) } + [("a.qcow2", "ls -lR \"$1\""), ("vm.ova", "ls -lR \"$1\"")]
        var all: [String] = []
        for _ in 0..<50 {
            let (path, script) = scripts.randomElement(using: &random) ?? scripts[0]
            all.append(try hung.start(1, hung.mount.file(path), script))
        }
        _ = try hung.faults.waitForHeld()
        for _ in 0..<3 { #expect(try hung.servesOthers(), "\(operations)") }
        try hung.faults.clear()
        #expect(wait(seconds: 60) { all.allSatisfy { FileManager.default.fileExists(atPath: $0) } })
        try hung.mount.unmount()
    }

    @Test("Closing its files holds up no others, also where the host's close hangs", arguments: [true, false])
    func closing(whileUsed: Bool) throws {
        let hung = try HungMount()
        let opened = try hung.start(
            24, hung.mount.disk("a.qcow2"),
            "exec 3<\"$1\"; touch \"\(hung.folder.path)/open$2\"; until test -e \"\(hung.folder.path)/go\"; do sleep 0.1; done"
        )
        #expect(
            wait(seconds: 30) {
                (1...24).allSatisfy { FileManager.default.fileExists(atPath: hung.folder.file("open\($0)")) }
            })
        if whileUsed {
            for operation in [FaultFolder.Operation.stat, .read] { try hung.faults.hang(operation, of: "a.qcow2") }
            _ = try hung.start(1, hung.mount.disk("a.qcow2"), "stat \"$1\"; dd if=\"$1\" bs=64k count=1 iflag=direct")
            #expect(try hung.faults.waitForHeld())
        } else {
            try hung.faults.hang(.close, of: "a.qcow2")
        }
        try Shell.check("touch \"$1\"", hung.folder.file("go"))
        #expect(wait(seconds: 20) { FileManager.default.fileExists(atPath: opened) })
        // The host's file is closed when the image was not used for some seconds.
        #expect(try hung.faults.waitForHeld())
        #expect(try hung.servesOthers())
    }

    @Test("Twelve of them, each with more requests than one may have threads, leave threads to the others")
    func manyHung() throws {
        // The kernel would read raw disks without a thread of the server.
        let hung = try HungMount(["--kernel-path", "off"])
        // Opened before: of an image that hangs while it is opened, all requests wait for one thread.
        try Shell.check(
            "for n in $(seq 12); do dd if=\"$1/c$n.raw/disk.raw\" bs=64k count=1 skip=40 iflag=direct of=/dev/null; done 2>&1",
            hung.mount.path)
        for number in 1...12 {
            try hung.faults.hang(.read, of: "c\(number).raw")
            _ = try hung.start(
                8, hung.mount.disk("c\(number).raw"), "dd if=\"$1\" bs=64k count=1 skip=$2 iflag=direct")
        }
        // Of 96 programs, which take a while to start where other tests run.
        #expect(try hung.faults.waitForHeld(24, seconds: 120))
        #expect(try hung.servesOthers())
    }

    @Test("A link into a folder that hangs does not keep the folder that it is in from being looked at")
    func link() throws {
        let hung = try HungMount()
        let images = try hung.folder.makeFolder("links")
        try Shell.check(
            "cd \"$1\" && cp \"$2\"/b.raw . && ln -s \"$3\" far && ln -s \"$3/c1.raw\" c1.raw", images,
            hung.folder.file("images"), hung.faults.path)
        let mount = try Mount(images, options: ["--allow-path", hung.faults.path])
        try hung.faults.hang(.stat, of: "*")
        try hung.faults.hang(.stat, of: "")
        let done = try hung.start(
            1, mount.path, "set -e; cd \"$1\"; ls; stat far; ls -l b.raw; dd if=b.raw/disk.raw iflag=direct bs=64k")
        #expect(wait(seconds: 20) { FileManager.default.fileExists(atPath: done) })
        #expect(try Shell.check("ls \"$1\"", mount.path) == "b.raw\nc1.raw\nfar\nstats.json")
        try hung.faults.clear()
        #expect(
            try wait(seconds: 20) {
                try Shell.run("cmp \"$1\" \"$2\"", mount.disk("c1.raw"), mount.disk("far/c1.raw")).status == 0
            })
    }

    @Test("SIGTERM ends server and mount, although reads hang", arguments: [SIGTERM, SIGINT])
    func ending(signal: CInt) throws {
        let hung = try HungMount()
        try hung.faults.hang(.read, of: "a.qcow2")
        let done = try hung.start(6, hung.mount.disk("a.qcow2"), "dd if=\"$1\" bs=64k count=1 skip=$2 iflag=direct")
        #expect(try hung.faults.waitForHeld())
        kill(hung.mount.server, signal)
        #expect(hung.mount.waitForEnd(seconds: 5), "the server ends")
        #expect(!hung.mount.isMounted)
        #expect(wait(seconds: 5) { FileManager.default.fileExists(atPath: done) }, "who waited gets an error")
    }

    @Test("The status is 0, and the file of --pid-file goes, also where reads hang")
    func endStatus() throws {
        let hung = try HungMount()
        let folder = hung.folder
        let mountpoint = try folder.makeFolder("foreground")
        try Mount.register(mountpoint)
        let status = folder.file("status")
        try Shell.check(
            """
            (set +e; "$1" -f --pid-file "$4/pid" "$2" "$3"; echo $? >"$4/status.new"; mv "$4/status.new" "$4/status") \
                </dev/null >/dev/null 2>&1 & disown
            """, Tool.rblockfs, hung.faults.path, mountpoint, folder.path)
        #expect(wait(seconds: 30) { Mount.isMounted(mountpoint) })
        try hung.faults.hang(.read, of: "a.qcow2")
        _ = try hung.start(1, "\(mountpoint)/a.qcow2/disk.raw", "dd if=\"$1\" bs=64k count=1 iflag=direct")
        #expect(try hung.faults.waitForHeld())
        let number = try Shell.check("cat \"$1\"", folder.file("pid"))
        kill(try #require(pid_t(number)), SIGTERM)
        #expect(wait(seconds: 10) { FileManager.default.fileExists(atPath: status) })
        #expect(try String(contentsOfFile: status, encoding: .utf8) == "0\n")
        #expect(!Mount.isMounted(mountpoint))
        #expect(!FileManager.default.fileExists(atPath: folder.file("pid")))
    }
}

@Suite("A host that tells nonsense of its files", .enabled(if: Tool.canFault("qemu-img", "tar")))
struct LyingHostTests {
    @Test("Times, sizes, blocks and links of any number end nothing")
    func lies() throws {
        let hung = try HungMount()
        let names = ["a.qcow2", "b.raw", "vm.ova", "c1.raw", ""]
        for (fact, values) in [
            (FaultFolder.Fact.mtime, [Int64.min, Int64.min + 1, -1, Int64.max, 1 << 40]), (.blocks, [.max, -1]),
            (.links, [0, 0xffff_ffff]), (.nanoseconds, [999_999_999]), (.size, [.max, .max - 511, 0, 1]),
        ] {
            for value in values {
                for name in names where name != "" || fact == .mtime { try hung.faults.tell(fact, value, of: name) }
                _ = try Shell.run(
                    """
                    cd "$1"; ls -lR . >/dev/null; cat */stats.json >/dev/null
                    for d in a.qcow2 b.raw; do head -c 4096 $d/disk.raw >/dev/null; done
                    """, hung.mount.path)
                #expect(hung.mount.isServing, "\(fact) \(value)")
                try hung.faults.clear()
            }
        }
        #expect(try hung.servesOthers())
    }

    @Test("A folder whose time lies in the future shows what comes, and is not listed for every look")
    func future() throws {
        let folder = try TemporaryFolder()
        try Pattern.writeDisk(folder.file("a.raw"), size: 1 << 20, seed: 1)
        try Shell.check("touch -d 2100-01-01 \"$1\"", folder.path)
        let mount = try Mount(folder.path)
        #expect(try Shell.check("ls \"$1\"", mount.path) == "a.raw\nstats.json")
        try Shell.check("cp \"$1\"/a.raw \"$1\"/b.raw", folder.path)
        #expect(try wait(seconds: 60) { try Shell.check("ls \"$1\"", mount.path) == "a.raw\nb.raw\nstats.json" })
    }
}

@Suite("What the server of a mount holds on to", .serialized, .enabled(if: Tool.canMount("qemu-img")))
struct HeldFilesTests {
    @Test("The files of an image that is not read are closed some seconds later")
    func idle() throws {
        let folder = try TemporaryFolder()
        try Shell.check("cd \"$1\" && qemu-img create -q -f qcow2 a.qcow2 1M", folder.path)
        let mount = try Mount(folder.path)
        try Shell.check("cat \"$1\" >/dev/null", mount.disk("a.qcow2"))
        func isOpen() throws -> Bool {
            let files = "/proc/\(mount.server)/fd"
            return try FileManager.default.contentsOfDirectory(atPath: files).contains {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(files)/\($0)"))?.hasSuffix("a.qcow2")
                    ?? false
            }
        }
        #expect(try isOpen(), "It is open for a while, so that who comes back finds it ready.")
        #expect(try wait(seconds: 30) { try !isOpen() })
        let reader = try OpenedFile(mount.disk("a.qcow2"))
        usleep(9_000_000)
        #expect(try isOpen(), "A file that is open stays open.")
        #expect(try reader.read(4096, at: 0).count == 4096)
    }

    @Test("An images folder that was deleted and made anew is seen again, and what was in the first is forgotten")
    func anew() throws {
        let folder = try TemporaryFolder()
        let images = try folder.makeFolder("images")
        for number in 1...40 { try folder.write([UInt8](repeating: 1, count: 4096), to: "images/old\(number).raw") }
        let mount = try Mount(images)
        #expect(try Shell.check("ls -l \"$1\"/*/disk.raw | wc -l", mount.path) == "40")
        try Shell.check("rm -r \"$1\"; sleep 0.2; mkdir \"$1\"", images)
        try Pattern.writeDisk("\(images)/new.raw", size: 1 << 20, seed: 3)
        #expect(try wait(seconds: 60) { try Shell.check("ls \"$1\"", mount.path) == "new.raw\nstats.json" })
        try Tool.check("cmp", "\(images)/new.raw", mount.disk("new.raw"))
        func entries() throws -> Int? {
            try JSONValue(parsing: FileManager.default.contents(atPath: mount.file("stats.json")) ?? Data())[
                "rblockfs", "entries"]?.number
        }
        // The kernel gives up a name when it is looked for.
        let areForgotten = try wait(seconds: 20) {
            _ = try Shell.run("cd \"$1\"; for i in $(seq 40); do stat old$i.raw; done", mount.path)
            return try entries() == 2
        }
        #expect(areForgotten)
    }
}
