import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "The benchmark of files of guests, tiny",
    .enabled(if: Tool.canUseLoopDevices("qemu-img", "mkfs.ext4", "sfdisk", "tar")))
struct FilesBenchTests {
    private static let program = URL(fileURLWithPath: Tool.rblock).deletingLastPathComponent()
        .appendingPathComponent("rblock-bench").path

    /// What must be in a line of the benchmark.
    private struct Line: Decodable {
        var image: String
        var measure: String
        var server: String
        var rounds: [Double]
        var median: Double?
        var ratios: [String: Double]
        var problem: String?
    }

    @Test("rblock and the kernel list, read and archive the files of a guest, and guestfish where it starts")
    func everything() throws {
        let result = try Tool.run(
            Self.program,
            ["files", "--size", "32M", "--rounds", "1", "--measures", "list,file,archive", "--output", "json"],
            timeout: 600)
        #expect(result.status == 0, "\(result.errors)")
        let lines = try result.text.split(separator: "\n").map { line in
            try JSONDecoder().decode(Line.self, from: Data(line.utf8))
        }
        for image in ["raw", "qcow2"] {
            for measure in ["list", "file", "archive"] {
                let rows = lines.filter { $0.image == image && $0.measure == measure && $0.server != "guestfish" }
                #expect(Set(rows.map(\.server)) == (image == "raw" ? ["rblock", "loop-mount"] : ["rblock"]))
                for row in rows {
                    #expect(row.problem == nil && row.rounds.count == 1 && row.median ?? 0 > 0, "\(row)")
                    #expect((row.ratios["loop-mount"] != nil) == (image == "raw" && row.server == "rblock"), "\(row)")
                }
            }
        }
    }

    @Test("An rblock that fails is a problem, and the status says so")
    func failing() throws {
        let result = try Tool.run(
            Self.program,
            [
                "files", "--size", "32M", "--rounds", "1", "--images", "raw", "--measures", "list", "--rblock",
                "/bin/false",
            ],
            timeout: 600)
        #expect(result.status == 1)
        #expect(result.errors.hasSuffix("rblock-bench: raw: list: ended with 1\n"), "\(result.errors)")
    }
}
