import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("qemu-img", "bash")))
struct `What is advised of a backing file` {
    /// The command that `result` advises.
    private func command(_ result: ToolResult) throws -> String {
        let start = try #require(result.errors.firstRange(of: "qemu-img rebase"), "\(result.errors)")
        return String(result.errors[start.lowerBound...].prefix { $0 != ")" })
    }

    /// An image over `backing` that does not say its format.
    private func write(_ name: String, over backing: String, in folder: TemporaryFolder) throws {
        var builder = QCOW2Builder(size: 1 << 20)
        builder.backingFile = backing
        try folder.write(builder.build().bytes, to: name)
    }

    @Test func `has it read as what it is`() throws {
        let folder = try TemporaryFolder()
        // A disk that begins as a text does.
        try folder.write(Array(repeating: Array("a line\n".utf8), count: 1000).flatMap(\.self), to: "notes of mine")
        try write("top.qcow2", over: "notes of mine", in: folder)
        let refused = try RBlock.run(["hash", "top.qcow2"], in: folder.path)
        #expect(refused.status == 1 && !refused.errors.contains("--format"), "\(refused.errors)")
        try Shell.check("cd \"$1\"; \(try command(refused))", folder.path)
        let read = try RBlock.run(["read", "--length", "6", "top.qcow2"], in: folder.path)
        #expect(read.text == "a line", "\(read.errors)")
        // Of the image itself, its format can be said.
        let alone = try RBlock.run(["hash", "notes of mine"], in: folder.path)
        #expect(alone.status == 1 && alone.errors.contains("--format raw"), "\(alone.errors)")
    }

    @Test func `keeps it in its place`() throws {
        let folder = try TemporaryFolder()
        try folder.write([UInt8](repeating: 7, count: 1 << 20), to: "base.raw")
        try write("middle", over: "base.raw", in: folder)
        try write("top.qcow2", over: "middle", in: folder)
        let refused = try RBlock.run(["hash", "top.qcow2"], in: folder.path)
        #expect(refused.status == 1, "\(refused.errors)")
        try Shell.check("cd \"$1\"; \(try command(refused))", folder.path)
        let read = try RBlock.run(["read", "--length", "1", "top.qcow2"], in: folder.path)
        #expect(read.output == Data([7]), "\(read.errors)")
    }
}
