import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "The benchmark of writing, tiny",
    .enabled(
        if: Tool.canUseLoopDevices(
            "qemu-img", "qemu-nbd", "qemu-storage-daemon", "nbdkit", "mkfs.ext4", "e2fsck", "sfdisk", "tar")))
struct WriteBenchTests {
    private static let program = URL(fileURLWithPath: Tool.rblock).deletingLastPathComponent()
        .appendingPathComponent("rblock-bench").path

    /// What must be in a line of the benchmark.
    private struct Line: Decodable {
        struct Aim: Decodable {
            var times: String
            var atLeast: Double
            var isReached: Bool?
        }

        var image: String
        var measure: String
        var server: String
        var size: Int
        var rounds: [Double]
        var median: Double?
        var ratios: [String: Double]
        var aims: [Aim]
        var overlaySize: Int?
        var problem: String?
    }

    /// With less, an ext4 file system has no journal, and little in it.
    @Test("Every server is written to in every way that it has, and each of the overlays is the same disk")
    func everything() throws {
        let result = try Tool.run(
            Self.program, ["write", "--size", "32M", "--rounds", "1", "--output", "json"], timeout: 600)
        #expect(result.status == 0 && result.errors == "", "\(result.errors)")
        let lines = try result.text.split(separator: "\n").map { line in
            try JSONDecoder().decode(Line.self, from: Data(line.utf8))
        }
        for image in ["raw", "qcow2"] {
            for measure in ["sequential", "random-1", "random-32", "synced", "synced-in-order", "files"] {
                let rows = lines.filter { $0.image == image && $0.measure == measure }
                var servers: Set = ["rblockfs", "qemu-storage-daemon"]
                if measure != "files" { servers.formUnion(["rblock", "qemu-nbd"]) }
                if measure != "files", image == "raw" { servers.insert("nbdkit") }
                #expect(Set(rows.map(\.server)) == servers && rows.count == servers.count, "\(image), \(measure)")
                // QEMU 7.2 mixes up direct writes that are under way at the same time: findings/qemu-fuse-export-writes.sh.
                for row in rows where measure != "random-32" || row.server != "qemu-storage-daemon" {
                    #expect(
                        row.problem == nil && row.rounds.count == 1 && row.rounds.allSatisfy { $0 > 0 }, "\(row)")
                    #expect(row.median == row.rounds.first && row.size == 32 << 20)
                    let others = servers.subtracting([row.server])
                    #expect(
                        Set(row.ratios.keys).union(["qemu-storage-daemon"]) == others.union(["qemu-storage-daemon"]))
                    #expect((row.overlaySize ?? 0 > 0) == (row.server != "nbdkit"), "\(row)")
                    #expect(row.aims.isEmpty == !["rblockfs", "rblock"].contains(row.server))
                    for aim in row.aims {
                        #expect(aim.isReached == row.ratios[aim.times].map { $0 >= aim.atLeast }, "\(row)")
                    }
                }
            }
        }
        #expect(lines.count == 49)
    }
}
