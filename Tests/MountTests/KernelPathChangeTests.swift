import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "Images that change while the kernel reads them by itself",
    .enabled(if: KernelPath.passesThrough && Tool.canMount("cmp")))
struct KernelPathChangeTests {
    private func makeImage() throws -> (folder: TemporaryFolder, image: String, content: [UInt8]) {
        let folder = try TemporaryFolder()
        let image = try folder.makeFolder("images") + "/a.raw"
        try Pattern.writeDisk(image, size: 1 << 20 | 512, seed: 1)
        return (folder, image, [UInt8](try Data(contentsOf: URL(fileURLWithPath: image))))
    }

    /// What the disk has for who opens it now; nil where it cannot be opened.
    private func content(_ mount: Mount) -> [UInt8]? { try? OpenedFile(mount.disk("a.raw")).read(4 << 20, at: 0) }

    @Test("One that is replaced is read as it was where it was open before, and as it is by all others")
    func replaced() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"))
        let reader = try OpenedFile(mount.disk("a.raw"))
        #expect(try mount.kernelPath("a.raw").name == "passthrough")
        try Pattern.writeDisk(folder.file("new"), size: 2 << 20, seed: 2)
        let new = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("new"))))
        try Shell.check("mv \"$1\" \"$2\"", folder.file("new"), image)
        #expect(wait(seconds: 60) { content(mount) == new })
        #expect(try reader.read(4 << 20, at: 0) == old && reader.mapped() == old)
        // It is another file, which nothing has written to.
        #expect(try mount.kernelPath("a.raw").name == "passthrough")
        let later = try OpenedFile(mount.disk("a.raw"))
        for _ in 0..<20 {
            #expect(try reader.read(4096, at: 4096) == Array(old[4096..<8192]))
            #expect(try later.read(4096, at: 4096) == Array(new[4096..<8192]))
        }
    }

    @Test("One that is written to is read as it is, and through the server by who opens it then")
    func written() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"))
        let reader = try OpenedFile(mount.disk("a.raw"))
        #expect(try reader.read(4 << 20, at: 0) == old)
        try Shell.check("printf changed | dd of=\"$1\" bs=1 seek=5000 conv=notrunc status=none", image)
        let new = [UInt8](try Data(contentsOf: URL(fileURLWithPath: image)))
        // The file has no state but the one that it is in.
        #expect(try reader.read(4 << 20, at: 0) == new)
        #expect(wait(seconds: 60) { content(mount) == new })
        #expect(try wait(seconds: 60) { try mount.kernelPath("a.raw").name == "server" })
        #expect(try mount.kernelPath("a.raw").reason?.contains("was written to while it was open") == true)
        // From here on reads of another state are refused.
        let later = try OpenedFile(mount.disk("a.raw"))
        #expect(try later.read(4096, at: 0) == Array(new[..<4096]))
        try Shell.check("printf again | dd of=\"$1\" bs=1 seek=900000 conv=notrunc status=none", image)
        #expect(
            wait(seconds: 60) {
                posix_fadvise(later.descriptor, 0, 0, POSIX_FADV_DONTNEED)
                do { _ = try later.read(4096, at: 900_000) } catch { return "\(error)".contains("Stale") }
                return false
            })
    }

    @Test("One that is cut or grows is never read past its end, and has its new size for who opens it then")
    func resized() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"))
        let reader = try OpenedFile(mount.disk("a.raw"))
        #expect(try reader.read(4 << 20, at: 0) == old)
        try Shell.check("truncate -s 5000 \"$1\"", image)
        #expect(try reader.read(4 << 20, at: 0) == Array(old[..<5000]))
        #expect(wait(seconds: 60) { content(mount) == Array(old[..<5000]) })
        try Shell.check("truncate -s 9000 \"$1\"", image)
        #expect(try wait(seconds: 60) { try Status(mount.disk("a.raw")).size == 9000 })
        #expect(wait(seconds: 60) { content(mount) == Array(old[..<5000]) + [UInt8](repeating: 0, count: 4000) })
    }

    @Test("A change while nothing is open is nothing special")
    func changedBetween() throws {
        let (folder, image, old) = try makeImage()
        let mount = try Mount(folder.file("images"))
        #expect(content(mount) == old)
        for text in ["one", "two"] {
            try Shell.check("printf $2 | dd of=\"$1\" bs=1 seek=5000 conv=notrunc status=none", image, text)
            let new = [UInt8](try Data(contentsOf: URL(fileURLWithPath: image)))
            #expect(wait(seconds: 60) { content(mount) == new })
        }
        #expect(try wait(seconds: 60) { try mount.kernelPath("a.raw").name == "passthrough" })
    }

    @Test("When the server is killed, open disks are read on, and nothing keeps the images when they are closed")
    func killed() throws {
        let memory = try HostFileSystem("tmpfs", size: 16 << 20)
        try Pattern.writeDisk(memory.file("a.raw"), size: 2 << 20, seed: 3)
        let content = [UInt8](try Data(contentsOf: URL(fileURLWithPath: memory.file("a.raw"))))
        let mount = try Mount(memory.path)
        var reader: OpenedFile? = try OpenedFile(mount.disk("a.raw"))
        kill(mount.server, SIGKILL)
        #expect(mount.waitForEnd())
        #expect(try reader?.read(4 << 20, at: 0) == content)
        #expect(throws: PosixFailure.self) { try OpenedFile(mount.disk("a.raw")) }
        try Shell.check("rm \"$1\"", memory.file("a.raw"))
        let used = { try Shell.check("stat -f -c '%b %f' \"$1\" | awk '{ print $1 - $2 }'", memory.path) }
        #expect(try used() != "0")
        reader = nil
        try Tool.check("umount", mount.path)
        #expect(try wait(seconds: 60) { try used() == "0" })
        // Not even lazily: nothing is open on it.
        try Tool.check("umount", memory.path)
    }
}
