import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("bash", "head")))
struct `An image that is written to while rblock reads it` {
    @Test func `is read to its end, and then said to be a mixture`() throws {
        let folder = try TemporaryFolder()
        let image = folder.file("disk.raw")
        // Much more than the pipe and the buffers hold, so that the command waits for its reader.
        try Pattern.writeDisk(image, size: 64 << 20, seed: 1)
        try Shell.check(
            """
            { "$1" read "$2" 2>"$3/errors" || echo $? >"$3/status"; } | {
                head -c 100 >"$3/start"; printf x >>"$2"; cat | wc -c >"$3/rest"
            }
            """, Tool.rblock, image, folder.path)
        func text(_ name: String) throws -> String { try String(contentsOfFile: folder.file(name), encoding: .utf8) }
        #expect(try text("status") == "1\n")
        #expect(try text("errors").hasPrefix("rblock: \(image): was written to while it was read"))
        // What head took from the pipe beyond its 100 bytes is lost, as in every shell.
        #expect(try (Int(text("rest").trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0) > 63 << 20)
    }
}
