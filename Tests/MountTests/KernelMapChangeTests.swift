import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "Images that change while the kernel reads them by a map",
    .enabled(if: KernelPath.maps && Tool.canMount("cmp", "qemu-img", "qemu-io")))
struct KernelMapChangeTests {
    private func makeImage(seed: UInt64 = 1) throws -> (folder: TemporaryFolder, image: String, content: [UInt8]) {
        let folder = try TemporaryFolder()
        let image = try folder.makeFolder("images") + "/a.qcow2"
        let content = try make(image, size: 2 << 20 | 512, seed: seed, in: folder)
        return (folder, image, content)
    }

    private func make(_ image: String, size: UInt64, seed: UInt64, in folder: TemporaryFolder) throws -> [UInt8] {
        try Pattern.writeDisk(folder.file("source"), size: size, seed: seed)
        try QemuImg.convert(folder.file("source"), to: image)
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("source"))))
    }

    private func content(_ mount: Mount) -> [UInt8]? { try? OpenedFile(mount.disk("a.qcow2")).read(8 << 20, at: 0) }

    @Test("One that is replaced is read as it was by readers of before, and as it is by all others, by a new map")
    func replaced() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"), kernelPath: "map")
        let reader = try OpenedFile(mount.disk("a.qcow2"))
        #expect(try mount.kernelPath("a.qcow2").name == "map")
        let new = try make(folder.file("new"), size: 3 << 20, seed: 2, in: folder)
        try Shell.check("mv \"$1\" \"$2\"", folder.file("new"), image)
        #expect(wait(seconds: 60) { content(mount) == new })
        #expect(try mount.kernelPath("a.qcow2").name == "map")
        #expect(try reader.read(8 << 20, at: 0) == old && reader.mapped() == old)
        posix_fadvise(reader.descriptor, 0, 0, POSIX_FADV_DONTNEED)
        #expect(try reader.read(8 << 20, at: 0) == old)
    }

    @Test("One that is written to between two readers gets a new map")
    func writtenMeanwhile() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"), kernelPath: "map")
        #expect(content(mount) == old)
        for round in 1...3 {
            try QemuImg.io(image, ["write -q -P \(round) \(round)00k 300k"])
            let expected = folder.file("judge")
            try Shell.check("qemu-img convert -O raw \"$1\" \"$2\"", image, expected)
            let new = [UInt8](try Data(contentsOf: URL(fileURLWithPath: expected)))
            #expect(wait(seconds: 60) { content(mount) == new })
            #expect(try mount.kernelPath("a.qcow2").name == "map")
        }
    }

    @Test("One that is written to while it is open is opened through the server from then on, and never as a mixture")
    func written() throws {
        let (folder, image, _) = try makeImage()
        let mount = try Mount(folder.file("images"), kernelPath: "map")
        let reader = try OpenedFile(mount.disk("a.qcow2"))
        _ = try reader.read(4096, at: 0)
        try QemuImg.io(image, ["write -q -P 7 300k 700k"])
        try Shell.check("qemu-img convert -O raw \"$1\" \"$2\"", image, folder.file("judge"))
        let new = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("judge"))))
        // Until the change is seen, the kernel keeps the name, and opening it is refused or finds the new state.
        #expect(wait(seconds: 60) { content(mount) == new })
        #expect(try mount.kernelPath("a.qcow2").name == "server")
        #expect(try mount.kernelPath("a.qcow2").reason?.contains("was written to while it was open") == true)
        withExtendedLifetime(reader) {}
    }

    @Test("One that is cut is an error from there on, and never zeros")
    func truncated() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"), kernelPath: "map")
        let reader = try OpenedFile(mount.disk("a.qcow2"))
        #expect(try mount.kernelPath("a.qcow2").name == "map")
        let size = try Status(image).size
        try Shell.check("truncate -s $2 \"$1\"", image, "\(size / 2 + 1000)")
        posix_fadvise(reader.descriptor, 0, 0, POSIX_FADV_DONTNEED)
        var wrong: [Int64] = []
        var errors = 0
        for offset in stride(from: Int64(0), to: Int64(old.count), by: 4096) {
            do {
                let bytes = try reader.read(4096, at: offset)
                if bytes != Array(old[Int(offset)..<min(Int(offset) + 4096, old.count)]) { wrong.append(offset) }
            } catch {
                errors += 1
            }
        }
        #expect(wrong == [] && errors > 0)
    }

    /// The EROFS file systems that there are: each has a backing device information of its own.
    private static func maps() -> Set<String> {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/sys/class/bdi")) ?? []
        return Set(names.filter { $0.hasPrefix("erofs") })
    }

    @Test("Nothing is left of maps when the server is killed, and open ones are read on where they lie in files")
    func killed() throws {
        let (folder, _, old) = try makeImage()
        let before = Self.maps()
        let mount = try Mount(folder.file("images"), kernelPath: "map")
        var reader: OpenedFile? = try OpenedFile(mount.disk("a.qcow2"))
        #expect(try reader?.read(4096, at: 0) == Array(old[..<4096]))
        let made = Self.maps().subtracting(before)
        #expect(!made.isEmpty)
        #expect(
            try Shell.check("grep -c erofs /proc/mounts /proc/$1/mounts | grep -v :0 | wc -l", "\(mount.server)") == "0"
        )
        kill(mount.server, SIGKILL)
        #expect(mount.waitForEnd())
        let rest = try reader?.read(1 << 20, at: 1 << 20)
        #expect(rest == Array(old[1 << 20..<2 << 20]))
        reader = nil
        // The dead mount itself stays until it is unmounted.
        try Tool.check("fusermount3", "-u", mount.path)
        // Those of other tests end as well.
        #expect(wait(seconds: 60) { Self.maps().isDisjoint(with: made) })
        withExtendedLifetime(folder) {}
    }

    @Test("A mount with maps is unmounted at once, and nothing of them is left")
    func unmounted() throws {
        let (folder, image, _) = try makeImage()
        // With a part that only the server can read.
        try Shell.check(
            "qemu-img create -q -f qcow2 \"$1\" 4M; qemu-io -c 'write -q -P 1 0 1M' -c 'write -q -c -P 2 2M 64k' \"$1\"",
            image)
        let before = Self.maps()
        let mount = try Mount(folder.file("images"), kernelPath: "map")
        #expect(content(mount)?.count == 4 << 20)
        #expect(try mount.kernelPath("a.qcow2").name == "map")
        let made = Self.maps().subtracting(before)
        try mount.unmount()
        #expect(wait(seconds: 60) { Self.maps().isDisjoint(with: made) })
    }

    @Test("The kernel opens what was checked, and looks up no path", .enabled(if: Tool.areThere("strace")))
    func noOtherFiles() throws {
        let (folder, image, _) = try makeImage()
        try Shell.check("qemu-io -c 'discard 0 64k' -c 'write -q -c -P 2 0 64k' \"$1\"", image)
        let mountpoint = try folder.makeFolder("mnt")
        try Mount.register(mountpoint)
        let trace = folder.file("trace")
        try Shell.check(
            """
            strace -f -o "$1" -e trace=open,openat,openat2,open_tree,fsconfig,fsmount,mount,move_mount \\
                "$2" --foreground --kernel-path map "$3" "$4" & server=$!
            for try in $(seq 200); do mountpoint -q "$4" && break; sleep 0.05; done
            cat "$4/a.qcow2/disk.raw" >/dev/null; jq -r '.rblock."kernel-path".path' "$4/a.qcow2/stats.json" >"$1.way"
            umount "$4"; wait $server
            """, trace, Tool.rblockfs, folder.file("images"), mountpoint)
        #expect(try String(contentsOfFile: trace + ".way", encoding: .utf8) == "map\n")
        let lines = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
        let given = lines.filter {
            $0.contains("fsconfig(") && ($0.contains("\"device\"") || $0.contains("\"source\", \"/"))
        }
        #expect(given.count >= 3 && given.allSatisfy { $0.contains("\"/proc/thread-self/fd/") }, "\(given)")
        #expect(!lines.contains { $0.contains("move_mount(") })
        #expect(lines.contains { $0.contains("fsmount(") })
    }
}
