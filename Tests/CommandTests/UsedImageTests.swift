import Foundation
import HostTools
import TestImages
import Testing

/// Images that other programs use as QEMU does, and those whose times tell nothing.
@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io", "qemu-storage-daemon", "python3", "bash")))
struct `An image that another program uses` {
    private let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
    }

    /// Holds the byte `$1` of the file `$2` locked as QEMU does while the rest of the arguments run, and prints the status.
    private static let locked = """
        import fcntl, os, struct, subprocess, sys
        with open(sys.argv[2], "r+b") as image:
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, int(sys.argv[1]), 1, 0)
            fcntl.fcntl(image, 37, lock)
            result = subprocess.run(sys.argv[3:], close_fds=True)
        print("status", result.returncode)
        """

    private func withLock(_ byte: Int, of file: String, _ arguments: [String]) throws -> ToolResult {
        try Tool.run(
            "python3", ["-c", Self.locked, "\(byte)", file, Tool.rblock] + arguments, in: folder.path, timeout: 300)
    }

    private func makeChains() throws {
        try Shell.check(
            """
            cd "$1"; qemu-img create -q -f qcow2 base.qcow2 1M; qemu-io -c 'write -P 7 0 64k' base.qcow2 >/dev/null
            qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
            qemu-img create -q -f vmdk -o subformat=twoGbMaxExtentFlat split.vmdk 1M
            qemu-img create -q -f qcow2 -o data_file=data.raw data.qcow2 1M
            """, folder.path)
    }

    @Test(
        arguments: [
            ["hash", "IMAGE"], ["read", "IMAGE"], ["map", "IMAGE"], ["diff", "IMAGE", "IMAGE"],
            ["convert", "IMAGE", "new.raw"], ["delta", "IMAGE", "IMAGE", "new.qcow2"],
        ])
    func `is refused where that may write to one of its files, unless it is read all the same`(verb: [String]) throws {
        try makeChains()
        for (image, locked) in [
            ("top.qcow2", "top.qcow2"), ("top.qcow2", "base.qcow2"), ("split.vmdk", "split-f001.vmdk"),
            ("data.qcow2", "data.raw"),
        ] {
            // The new image of convert and delta is made anew each time.
            try Shell.check("rm -f \"$1\"/new.*", folder.path)
            let arguments = verb.map { $0 == "IMAGE" ? image : $0 }
            let refused = try withLock(101, of: locked, arguments)
            let status = verb[0] == "diff" ? 2 : 1
            #expect(refused.text == "status \(status)\n", "\(arguments): \(refused.text)")
            let sentence = "rblock: \(folder.file(locked)): another program is writing to it, so that"
            #expect(refused.errors.hasPrefix(sentence), "\(arguments): \(refused.errors)")
            #expect(refused.errors.contains("--force-share"), "\(refused.errors)")
            let read = try withLock(101, of: locked, [verb[0], "-U"] + arguments.dropFirst())
            #expect(read.text.hasSuffix("status 0\n"), "\(arguments): \(read.errors)")
            let warning = sentence.replacingOccurrences(of: "rblock: ", with: "rblock: warning: ")
            #expect(read.errors.contains(warning) && !read.errors.contains("--force-share"), "\(read.errors)")
            try Shell.check("rm -f \"$1\"/new.*", folder.path)
            // Readers do not lock each other out.
            let shared = try withLock(100, of: locked, arguments)
            #expect(shared.text.hasSuffix("status 0\n") && shared.errors.isEmpty, "\(arguments): \(shared.errors)")
        }
    }

    @Test func `is refused while qemu-io has it open`() throws {
        try makeChains()
        let script = """
            cd "$1"; qemu-io -c 'write 0 1k' -c 'sleep 20000' top.qcow2 >/dev/null & writer=$!
            for i in {1..100}; do "$2" hash top.qcow2 >out 2>errors; s=$?; [ $s = 1 ] && break; sleep 0.1; done
            "$2" hash -U top.qcow2 >/dev/null 2>&1; echo $s $?; wc -c <out
            kill $writer; wait $writer 2>/dev/null; cat errors; "$2" hash top.qcow2 >/dev/null; echo $?
            """
        let result = try Tool.run("bash", ["-c", script, "bash", folder.path, Tool.rblock], timeout: 300)
        #expect(result.text.hasPrefix("1 0\n0\nrblock: \(folder.file("top.qcow2")): another program"), "\(result.text)")
        #expect(result.text.hasSuffix("\n0\n"), "\(result.text)")
    }

    @Test func `that is written to while it is read is read on where that is wanted`() throws {
        let image = folder.file("disk.raw")
        try Pattern.writeDisk(image, size: 64 << 20, seed: 1)
        for verb in [["create", "new.qcow2", "1M"], ["info", "a"], ["serve", "a"]] {
            // What an image is may be asked whoever uses it.
            for option in ["--ignore-changes", "-U"] where verb[0] != "info" || option != "-U" {
                #expect(try RBlock.run(verb + [option], in: folder.path).status == 64)
            }
        }
        for option in ["--ignore-changes", "-U"] {
            let result = try Shell.run(
                """
                set -o pipefail; "$1" read $3 "$2" | { head -c 100; printf x >>"$2"; cat; } | wc -c
                """, Tool.rblock, image, option, timeout: 300)
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.errors.contains("was written to while it was read"), "\(result.errors)")
            #expect(!result.errors.contains("--ignore"), "\(result.errors)")
        }
    }

    /// Exports the raw file `$1` at the file `$2` over FUSE, which then has the time of now whenever it is asked.
    private static let export = """
        : >"$2"; qemu-storage-daemon --blockdev driver=file,node-name=f,filename="$1" \\
            --export type=fuse,id=e,node-name=f,mountpoint="$2",writable=$4 & server=$!
        trap 'kill $server; wait $server; umount -l "$2" 2>/dev/null' EXIT
        for i in {1..200}; do [ -s "$2" ] && break; sleep 0.05; done; [ -s "$2" ] || exit 99
        rblock=$3

        """

    @Test(.enabled(if: Tool.canMount("qemu-storage-daemon")))
    func `over FUSE with no times of its own is read, and a change that can be seen is said`() throws {
        let (disk, shown) = (folder.file("disk.raw"), folder.file("shown.raw"))
        try Pattern.writeDisk(disk, size: 64 << 20, seed: 1)
        let digest = try Shell.check("sha256sum <\"$1\" | cut -d ' ' -f 1", disk)
        // The reader is held up for longer than the second in which all times are the same.
        let read = try Shell.run(
            Self.export
                + """
                set -o pipefail; "$rblock" read "$2" | { head -c 4096; sleep 2.5; cat; } | sha256sum | cut -d ' ' -f 1
                echo $?
                """, disk, shown, Tool.rblock, "off", timeout: 300)
        #expect(read.text == "\(digest)\n0\n", "\(read.text)\(read.errors)")
        #expect(read.errors.contains("\(shown): its file system dates it by the clock"), "\(read.errors)")
        // A write to its start is among the samples.
        let changed = try Shell.run(
            Self.export
                + """
                set -o pipefail; "$rblock" read "$2" | {
                    head -c 4096; sleep 1.5; printf changed | dd of="$2" conv=notrunc status=none; cat
                } | wc -c; echo $?
                """, disk, shown, Tool.rblock, "on", timeout: 300)
        #expect(changed.text.hasSuffix("\n1\n"), "\(changed.text)\(changed.errors)")
        #expect(changed.errors.contains("\(shown): was written to while it was read"), "\(changed.errors)")
    }
}
