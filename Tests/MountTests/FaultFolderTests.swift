import Foundation
import HostTools
import TestImages
import Testing

@Suite("A folder whose files fail on demand", .serialized, .enabled(if: Tool.canFault()))
struct FaultFolderTests {
    private let folder: TemporaryFolder
    private let faults: FaultFolder

    init() throws {
        folder = try TemporaryFolder()
        let images = try folder.makeFolder("images/sub")
        try Pattern.writeDisk("\(images)/deep file.raw", size: 65536, seed: 1)
        try Pattern.writeDisk(folder.file("images/a.raw"), size: 1 << 20, seed: 2)
        faults = try FaultFolder(folder.file("images"))
    }

    @Test("Without faults it is the folder")
    func passesThrough() throws {
        try Shell.check("diff -r \"$1\" \"$2\" && ls -l \"$2\"", folder.file("images"), faults.path)
    }

    @Test("Reads, opens and stats hang until the faults are cleared")
    func hangs() throws {
        try faults.hang(.read, of: "a.raw", in: 4096..<8192)
        // Without the page cache, which would read ahead.
        try Shell.check(
            "dd if=\"$2\" bs=4096 count=1 iflag=direct status=none | cmp -n 4096 \"$1\"", folder.file("images/a.raw"),
            faults.file("a.raw"))
        let hung: [(FaultFolder.Operation, String)] = [
            (.read, "a.raw"), (.open, "sub/deep file.raw"), (.stat, "sub/deep file.raw"), (.list, "sub"),
            (.close, "a.raw"),
        ]
        for (operation, name) in hung {
            try faults.clear()
            try faults.hang(operation, of: name)
            let script = operation == .list ? "ls \"$1\" >\"$2\"" : "cat \"$1\" >\"$2\""
            try Shell.check(
                "rm -f \"$2\"*; (\(script); touch \"$2.done\") & disown", faults.file(name), folder.file("out"))
            #expect(try faults.waitForHeld(), "\(operation) hangs")
            #expect(!FileManager.default.fileExists(atPath: folder.file("out.done")))
            try faults.clear()
            #expect(wait(seconds: 60) { FileManager.default.fileExists(atPath: folder.file("out.done")) })
        }
    }

    @Test("Reads fail in a range, and end early")
    func fails() throws {
        try faults.fail(.read, of: "a.raw", in: 65536..<65537)
        let file = try OpenedFile(faults.file("a.raw"))
        #expect(throws: PosixFailure.self) { try file.read(4096, at: 65536) }
        #expect(try file.read(512, at: 0).count == 512)
        try faults.clear()
        #expect(try file.read(512, at: 65536).count == 512)
        try faults.endReads(of: "a.raw", at: 1000)
        #expect(try OpenedFile(faults.file("a.raw")).read(4096, at: 4096).isEmpty)
        try faults.fail(.open, of: "a.raw", with: EACCES)
        #expect(throws: PosixFailure.self) { try OpenedFile(faults.file("a.raw")) }
    }

    @Test("stat answers what was set")
    func lies() throws {
        try faults.tell(.size, 12345, of: "a.raw")
        try faults.tell(.blocks, .max, of: "a.raw")
        try faults.tell(.mtime, -5, of: "a.raw")
        let status = try Status(faults.file("a.raw"))
        #expect(status.size == 12345)
        #expect(status.blocks == .max)
        #expect(status.modified.rounded(.down) == -5)
    }
}
