import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "bash")))
struct `rblock convert, when something goes wrong,` {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    private func convert(_ arguments: String...) throws -> ToolResult {
        try RBlock.run(["convert"] + arguments, in: folder.path)
    }

    private func names(_ path: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: path).sorted()
    }

    @Test func `leaves what is there, unless it is to be replaced`() throws {
        try Pattern.writeDisk(folder.file("a.raw"), size: 1 << 20, seed: 1)
        try folder.write([1, 2, 3], to: "b.raw")
        let refused = try convert("a.raw", "b.raw")
        #expect(refused.status == 1 && refused.errors.contains("b.raw: exists already; --force"), "\(refused.errors)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.file("b.raw"))) == Data([1, 2, 3]))
        #expect(try convert("--force", "a.raw", "b.raw").status == 0)
        #expect(try Shell.run("cd \"$1\"; cmp a.raw b.raw", folder.path).status == 0)
        for wrong in [["--force", "a.raw", "a.raw"], ["--force", "a.raw", "./a.raw"]] {
            let result = try RBlock.run(["convert"] + wrong, in: folder.path)
            #expect(result.status == 1 && result.errors.contains("is made of"), "\(result.errors)")
        }
        #expect(try names(folder.path) == ["a.raw", "b.raw"])
    }

    @Test func `never replaces a file of the source's chain`() throws {
        try Shell.check(
            """
            cd "$1"
            truncate -s 1M base.raw
            qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2
            qemu-img convert -O vmdk -o subformat=monolithicFlat base.raw disk.vmdk
            """, folder.path)
        let base = try convert("--force", "top.qcow2", "base.raw")
        #expect(base.status == 1 && base.errors.contains("base.raw: is a file that the new image is made of"))
        let extent = try convert("--force", "-O", "raw", "disk.vmdk", "disk-flat.vmdk")
        #expect(extent.status == 1 && extent.errors.contains("is made of"))
        #expect(try convert("disk.vmdk", "other.raw").status == 0)
    }

    @Test func `gives the new image the permissions that the umask leaves`() throws {
        try Shell.check(
            "cd \"$1\"; truncate -s 1M a.raw; umask 027; \"$2\" convert a.raw b.raw", folder.path, Tool.rblock)
        #expect(try Shell.check("stat -c %a \"$1\"", folder.file("b.raw")) == "640")
    }

    @Test(.enabled(if: Tool.canUseLoopDevices()), arguments: ["raw", "qcow2", "vmdk"])
    func `a full disk leaves nothing`(format: String) throws {
        let system = try HostFileSystem("tmpfs", size: 4 << 20)
        try Shell.check("head -c 16M /dev/urandom > \"$1\"", folder.file("a.raw"))
        let result = try convert("a.raw", system.file("b.\(format)"))
        #expect(result.status == 1 && result.output.isEmpty, "\(result.text)")
        #expect(
            result.errors.contains("b.\(format): at 0x") && result.errors.contains("No space left"), "\(result.errors)")
        #expect(try names(system.path) == [])
        #expect(try Shell.check("df --output=used -B 1 \"$1\" | tail -n 1 | tr -d ' '", system.path) == "0")
    }

    @Test func `names what cannot be read, or goes on without it and says what is lost`() throws {
        // The data of the disk lies at the end of the file, in its order: its last cluster and a half are cut off. The
        // half that is left is read; QEMU takes the other half for zeros, but the refcounts know a cluster behind it.
        try Shell.check(
            """
            cd "$1"
            head -c 1M /dev/zero | tr '\\0' a > a.raw
            qemu-img convert -O qcow2 a.raw bad.qcow2
            truncate -s -98304 bad.qcow2
            """, folder.path)
        let start = 1 << 20 - 98304
        let result = try convert("bad.qcow2", "new.raw")
        #expect(result.status == 1 && result.errors.contains("bad.qcow2: at 0x"), "\(result.errors)")
        #expect(try names(folder.path) == ["a.raw", "bad.qcow2"])
        let rescued = try convert("--ignore-read-errors", "--output", "json", "bad.qcow2", "new.raw")
        #expect(rescued.status == 2 && rescued.errors == "", "\(rescued.errors)")
        let lost = try #require(try JSONValue(parsing: rescued.output)["lost"]?.array)
        #expect(lost.count == 1)
        #expect(lost.first?["start"]?.number == start && lost.first?["length"]?.number == 98304)
        let human = try convert("--force", "--ignore-read-errors", "bad.qcow2", "new.raw")
        #expect(human.status == 2 && human.errors.contains("98304 bytes at offset \(start)"), "\(human.errors)")
        try Shell.check(
            "cd \"$1\"; truncate -s $2 a.raw; truncate -s 1M a.raw; cmp a.raw new.raw", folder.path,
            "\(1 << 20 - 98304)")
    }

    @Test(.enabled(if: Tool.canMount()))
    func `reads around the bad sectors of a file that the kernel cannot read`() throws {
        // A mounted image whose second half is not there is a file of which the kernel says EIO.
        let images = try folder.makeFolder("images")
        try Shell.check(
            """
            cd "$1"
            head -c 2M /dev/zero | tr '\\0' a > a.raw
            qemu-img convert -O qcow2 a.raw bad.qcow2
            truncate -s -512K bad.qcow2
            """, images)
        let mount = try Mount(images)
        let result = try convert("-f", "raw", mount.disk("bad.qcow2"), "new.raw")
        #expect(result.status == 1 && result.errors.contains("disk.raw: at 0x"), "\(result.errors)")
        let rescued = try RBlock.json(
            "convert", "--ignore-read-errors", "-f", "raw", mount.disk("bad.qcow2"), folder.file("new.raw"))
        #expect(rescued["lost"]?.array?.count == 1)
        #expect(rescued["lost"]?.array?.first?["start"]?.number == 3 << 19)
        #expect(rescued["lost"]?.array?.first?["length"]?.number == 1 << 19)
    }

    @Test(arguments: ["INT", "TERM", "HUP"])
    func `a signal leaves nothing, and ends it as a signal does`(signal: String) throws {
        let result = try interrupted(signal, in: folder.path)
        #expect(result.text == "\(128 + ["INT": 2, "TERM": 15, "HUP": 1][signal]!)\n", "\(result.text)\(result.errors)")
        #expect(try names(folder.path) == ["a.raw"])
    }

    /// What a shell types to have no files without names in the folder $1: opening it is to look at it first, and to
    /// make a file in it then.
    private static let withoutUnnamedFiles =
        "strace -f -qqq -o /dev/null -P \"$1\" -e trace=openat -e inject=openat:error=EOPNOTSUPP:when=2"

    @Test(.enabled(if: Tool.areThere("strace")))
    func `works on file systems as well that have no files without names`() throws {
        let target = try folder.makeFolder("target")
        try Pattern.writeDisk(folder.file("a.raw"), size: 1 << 20, seed: 1)
        try Shell.check(
            """
            cd "$1/.."
            \(Self.withoutUnnamedFiles) "$2" convert a.raw "$1/b.raw"
            \(Self.withoutUnnamedFiles) "$2" convert --force a.raw "$1/b.raw"
            cmp a.raw "$1/b.raw"
            """, target, Tool.rblock)
        let wrong = try Shell.run(
            "\(Self.withoutUnnamedFiles) \"$2\" convert \"$1/../a.raw\" \"$1/b.raw\"", target, Tool.rblock)
        #expect(wrong.status == 1)
        #expect(try names(target) == ["b.raw"])
    }

    @Test(.enabled(if: Tool.areThere("strace", "pgrep")))
    func `a signal removes hidden names`() throws {
        let target = try folder.makeFolder("target")
        let result = try Shell.run(
            """
            head -c 150M /dev/urandom > "$1/../a.raw"
            \(Self.withoutUnnamedFiles) "$2" convert --compress zstd --level 19 "$1/../a.raw" "$1/b.qcow2" &
            tracer=$!
            for turn in {1..1000}; do ls -A "$1" | grep -q . && break; sleep 0.02; done
            ls -A "$1"
            kill -TERM $(pgrep -P $tracer)
            wait $tracer
            echo $?
            """, target, Tool.rblock)
        let lines = result.text.split(separator: "\n")
        #expect(lines.first?.hasPrefix(".rblock-") == true && lines.last == "143", "\(result.text)\(result.errors)")
        #expect(try names(target) == [])
    }

    /// Converts a disk that takes long, and sends the signal once the new file is open. The last line is the status.
    private func interrupted(_ signal: String, in path: String) throws -> ToolResult {
        // What a shell starts in the background ignores SIGINT.
        try Shell.run(
            """
            cd "$1"
            head -c 150M /dev/urandom > a.raw
            env --default-signal=INT,HUP,TERM "$2" convert --compress zstd --level 19 a.raw b.qcow2 &
            process=$!
            for turn in {1..1000}; do
                find /proc/$process/fd -lname "$1/*" ! -lname "$1/a.raw" 2>/dev/null | grep -q . && break
                sleep 0.02
            done
            kill -$3 $process
            wait $process
            echo $?
            """, path, Tool.rblock, signal)
    }

    @Test func `a source that is written to meanwhile is no source`() throws {
        // The sectors come from a pipe, so that the source is open, and has not been read, for as long as is wanted.
        let result = try Shell.run(
            """
            cd "$1"
            head -c 1M /dev/urandom > a.raw
            mkfifo list
            "$2" convert --from-sectors list a.raw b.raw &
            process=$!
            exec 3>list
            for turn in {1..1000}; do
                find /proc/$process/fd -lname "$1/a.raw" 2>/dev/null | grep -q . && break
                sleep 0.02
            done
            printf x >> a.raw
            echo 1 >&3
            exec 3>&-
            wait $process
            echo $?
            ls
            """, folder.path, Tool.rblock)
        #expect(result.text == "1\na.raw\nlist\n", "\(result.text)")
        #expect(result.errors.contains("a.raw: was written to while it was read"), "\(result.errors)")
    }
}
