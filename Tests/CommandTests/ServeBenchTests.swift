import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "The benchmark of serving, tiny",
    .enabled(if: Tool.areThere("qemu-img", "qemu-nbd", "nbdkit", "nbdcopy", "mkfs.ext4", "sfdisk", "tar")))
struct ServeBenchTests {
    private static let program = URL(fileURLWithPath: Tool.rblock).deletingLastPathComponent()
        .appendingPathComponent("rblock-bench").path

    /// What must be in a line of the benchmark.
    private struct Line: Decodable {
        var image: String
        var measure: String
        var server: String
        var size: Int
        var rounds: [Double]
        var median: Double?
        var ratios: [String: Double]
        var aims: [Aim]
        var problem: String?
    }

    private struct Aim: Decodable, Equatable {
        var times: String
        var atLeast: Double
        var isReached: Bool?
    }

    @Test("Every image is read from every server that has a reader for it, and the ratios are to each other")
    func everything() throws {
        let result = try Tool.run(
            Self.program, ["serve", "--size", "16M", "--rounds", "1", "--output", "json"], timeout: 300)
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
        let lines = try result.text.split(separator: "\n").map { line in
            try JSONDecoder().decode(Line.self, from: Data(line.utf8))
        }
        for image in ["raw", "qcow2", "zlib", "zstd"] {
            let servers: Set = image == "raw" ? ["rblock", "qemu-nbd", "nbdkit"] : ["rblock", "qemu-nbd"]
            for measure in ["copy-1", "copy-4", "random-1", "random-16"] {
                let rows = lines.filter { $0.image == image && $0.measure == measure }
                #expect(Set(rows.map(\.server)) == servers && rows.count == servers.count, "\(image), \(measure)")
                for row in rows {
                    #expect(row.problem == nil && row.rounds.count == 1 && row.rounds.allSatisfy { $0 > 0 })
                    #expect(row.median == row.rounds.first && row.size == 16 << 20)
                    #expect(Set(row.ratios.keys) == servers.subtracting([row.server]))
                    let aim = Aim(
                        times: "qemu-nbd", atLeast: 1.5, isReached: row.ratios["qemu-nbd"].map { $0 >= 1.5 })
                    #expect(row.aims == (row.server == "rblock" ? [aim] : []))
                }
            }
        }
        #expect(lines.count == 36)
    }

    @Test("A server that serves something else, and one that does not start, are named and end the run with 1")
    func failure() throws {
        let folder = try TemporaryFolder()
        let other = folder.file("other")
        try Tool.check("truncate", "-s", "16M", other)
        let socket = "socket=$(printf '%s\\n' \"$@\" | sed -n 's/^unix://p')"
        for (script, problem) in [
            ("echo not today; exit 3", "rblock: does not open it: not today"),
            ("\(socket)\nexec qemu-nbd -r -t -e 16 -f raw -k \"$socket\" '\(other)'", "rblock: wrong content"),
        ] {
            let program = try folder.write(Array("#!/bin/bash\n\(script)\n".utf8), to: "program")
            try Tool.check("chmod", "755", program)
            let result = try Tool.run(
                Self.program,
                [
                    "serve", "--size", "16M", "--rounds", "1", "--images", "qcow2", "--measures", "random-1",
                    "--servers",
                    "rblock,qemu-nbd", "--rblock", program,
                ], timeout: 300)
            #expect(result.status == 1 && result.errors.contains(problem), "\(result.errors)")
            #expect(result.text.contains("QCOW2, written in order") && result.text.contains("qemu-nbd"))
        }
        withExtendedLifetime(folder) {}
    }
}
