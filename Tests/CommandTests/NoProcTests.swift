import HostTools
import TestImages
import Testing

@Suite("Where /proc is not mounted", .enabled(if: Tool.isRoot && Tool.areThere("qemu-img", "unshare", "mount")))
struct NoProcTests {
    /// Runs a program where /proc is an empty folder.
    private func run(_ program: String, _ arguments: [String]) throws -> ToolResult {
        let script = "mount -t tmpfs none /proc && exec \"$@\""
        return try Tool.run("unshare", ["-m", "bash", "-c", script, "bash", program] + arguments, timeout: 300)
    }

    @Test func `every verb says so with status 70`() throws {
        let folder = try TemporaryFolder()
        let (image, mountpoint) = (folder.file("a.qcow2"), try folder.makeFolder("mnt"))
        try Shell.check("qemu-img create -q -f qcow2 \"$1\" 1M", image)
        for (program, arguments) in [
            (Tool.rblock, ["info", image]), (Tool.rblock, ["hash", image]), (Tool.rblock, ["check", image]),
            (Tool.rblock, ["convert", image, folder.file("b.qcow2")]), (Tool.rblock, ["serve", image]),
            (Tool.rblock, ["rpc", "/nowhere/rpc.sock", "list"]),
            (Tool.rblock, ["create", folder.file("c.qcow2"), "1M"]), (Tool.rblock, [image, "--inspect"]),
            (Tool.rblockfs, [image, mountpoint]), (Tool.rblockfs, ["-f", image, mountpoint]),
        ] {
            let result = try run(program, arguments)
            #expect(result.status == 70 && result.output.isEmpty, "\(arguments): \(result.text)\(result.errors)")
            #expect(result.errors.contains("/proc is not mounted"), "\(arguments): \(result.errors)")
            #expect(result.errors.split(separator: "\n").count == 1, "\(result.errors)")
        }
        #expect(try Shell.check("ls \"$1\"", folder.path) == "a.qcow2\nmnt")
    }

    @Test func `arguments are still understood`() throws {
        #expect(try run(Tool.rblock, ["--version"]).text == (try Tool.run(Tool.rblock, ["--version"])).text)
        #expect(try run(Tool.rblock, ["help", "hash"]).text == (try Tool.run(Tool.rblock, ["help", "hash"])).text)
        #expect(try run(Tool.rblockfs, ["--help"]).text == (try Tool.run(Tool.rblockfs, ["--help"])).text)
        let misspelt = try run(Tool.rblock, ["hahs", "x"])
        #expect(misspelt.status == 64 && misspelt.errors.contains("did you mean 'hash'"), "\(misspelt.errors)")
        #expect(try run(Tool.rblock, ["hash", "--no-such"]).status == 64)
    }
}
