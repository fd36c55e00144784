import Foundation
import HostTools
import TestImages
import Testing

@Suite("The benchmark of converting, tiny", .enabled(if: Tool.areThere("qemu-img", "mkfs.ext4", "sfdisk", "tar")))
struct ConvertBenchTests {
    private static let program = URL(fileURLWithPath: Tool.rblock).deletingLastPathComponent()
        .appendingPathComponent("rblock-bench").path

    /// What must be in a line of the benchmark.
    private struct Line: Decodable {
        var conversion: String
        var converter: String
        var diskSize: Int
        var writtenSize: Int?
        var rounds: [Double]
        var peer: String?
        var timesAsFast: Double?
        var aim: Double?
        var isReached: Bool?
        var problem: String?
    }

    @Test("Every program does every conversion, and each of ours is compared with its peer")
    func everything() throws {
        let result = try Tool.run(
            Self.program, ["convert", "--size", "16M", "--rounds", "2", "--output", "json"], timeout: 300)
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
        let lines = try result.text.split(separator: "\n").map { line in
            try JSONDecoder().decode(Line.self, from: Data(line.utf8))
        }
        #expect(lines.count == 20)
        for (conversion, aim) in ["raw-qcow2": 1.5, "qcow2-raw": 1.5, "raw-vhdx": 1.5, "zlib": 2, "zstd": 2] {
            let rows = lines.filter { $0.conversion == conversion }
            #expect(
                Dictionary(uniqueKeysWithValues: rows.map { ($0.converter, $0.peer) }) == [
                    "rblock": "qemu-img-flush", "qemu-img-flush": nil, "rblock-no-sync": "qemu-img", "qemu-img": nil,
                ])
            for row in rows {
                #expect(row.problem == nil && row.rounds.count == 2 && row.rounds.allSatisfy { $0 > 0 })
                #expect(row.diskSize == 16 << 20 && row.writtenSize.map { $0 > 1 << 20 && $0 < 16 << 20 } == true)
                #expect((row.timesAsFast == nil) == (row.peer == nil) && row.aim == (row.peer == nil ? nil : aim))
                if let times = row.timesAsFast { #expect(row.isReached == (times >= aim)) }
            }
        }
    }

    @Test("What is not the disk, and a program that fails, are named and end the run with 1")
    func failure() throws {
        let folder = try TemporaryFolder()
        for (script, problem) in [
            ("exit 3", "rblock: ended with 3"), ("qemu-img create -q -f qcow2 \"${@: -1}\" 16M", "something else"),
        ] {
            let program = try folder.write(Array("#!/bin/bash\n\(script)\n".utf8), to: "program")
            try Tool.check("chmod", "755", program)
            let result = try Tool.run(
                Self.program,
                [
                    "convert", "--size", "16M", "--rounds", "1", "--conversions", "zlib", "--converters",
                    "rblock,qemu-img-flush", "--rblock", program,
                ], timeout: 300)
            #expect(result.status == 1 && result.errors.contains(problem), "\(result.errors)")
            #expect(result.text.contains("zlib, seconds") && result.text.contains("qemu-img -t writeback"))
        }
    }
}
