import Foundation
import HostTools
import TestImages
import Testing

@Suite(
    "The benchmark, tiny",
    .enabled(
        if: Tool.canUseLoopDevices(
            "qemu-img", "qemu-storage-daemon", "qemu-nbd", "nbdfuse", "vmdkmount", "qcowmount", "mkfs.ext4", "sfdisk",
            "tar"
        )))
struct BenchTests {
    private static let program = URL(fileURLWithPath: Tool.rblockfs).deletingLastPathComponent()
        .appendingPathComponent("rblock-bench").path

    /// What must be in a line of the benchmark.
    private struct Line: Decodable {
        var image: String
        var measure: String
        var server: String
        var unit: String
        var size: Int
        var rounds: [Double]
        var median: Double?
        var ratios: [String: Double]
        var targets: [Target]
        var checkSum: String?
        var problem: String?

        struct Target: Decodable {
            var times: String
            var atLeast: Double
            var reached: Bool
        }
    }

    private static let images = [
        "raw", "vmdk", "qcow2", "scattered", "zlib", "zstd", "extended", "chain", "vhd", "vdi",
    ]
    /// The measures, and what each reads: those that read the same have the same check sum.
    private static let measures = [
        "sequential": "pages", "mmap": "pages", "copy": "disk", "losetup": "files", "losetup-direct": "files",
        "random-1": "blocks1", "random-8": "blocks8", "random-32": "blocks32",
    ]
    private static let servers = ["rblockfs", "overlay", "libfuse-loop", "qemu-storage-daemon", "nbdfuse", "bare-file"]

    @Test("Every image is read through every server in every way, and always the same")
    func everything() throws {
        let result = try Tool.run(
            Self.program, ["--size", "16M", "--rounds", "1", "--output", "json"], timeout: 300)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.errors == "")
        let lines = try result.text.split(separator: "\n").map { line in
            try JSONDecoder().decode(Line.self, from: Data(line.utf8))
        }
        var sums: [String: String] = [:]
        for image in Self.images {
            var peers = image == "vmdk" ? ["vmdkmount"] : image == "raw" ? ["passthrough"] : ["qcowmount"]
            if ["vhd", "vdi"].contains(image) { peers = [] }
            if !["raw", "zlib", "zstd", "vhd"].contains(image) { peers.append("map") }
            for (measure, content) in Self.measures {
                let rows = lines.filter { $0.image == image && $0.measure == measure }
                #expect(Set(rows.map(\.server)) == Set(Self.servers + peers), "\(image), \(measure)")
                #expect(rows.count == Self.servers.count + peers.count)
                for row in rows where row.problem == nil || Self.servers.contains(row.server) {
                    #expect(row.problem == nil, "\(image), \(measure), \(row.server)")
                    #expect(row.rounds.count == 1 && row.rounds.allSatisfy { $0 > 0 && $0.isFinite })
                    #expect(row.median == row.rounds.first && row.size == 16 << 20)
                    let sum = try #require(row.checkSum)
                    #expect(sums[content, default: sum] == sum, "\(image), \(measure), \(row.server)")
                    sums[content] = sum
                }
            }
        }
        #expect(sums.count == 6 && Set(sums.values).count == 6)
        checkTargets(lines)
    }

    /// A line of rblockfs has the ratios that its targets are about, also where the kernel reads by itself, and no other
    /// line has targets.
    private func checkTargets(_ lines: [Line]) {
        let without = [
            "rblockfs": ["mmap", "copy"], "passthrough": ["copy", "losetup", "losetup-direct", "random-32"],
            "map": ["mmap", "copy", "losetup", "losetup-direct", "random-32"],
            "overlay": ["mmap", "copy", "losetup", "losetup-direct"],
        ]
        for line in lines {
            guard let without = without[line.server], line.problem == nil else {
                #expect(line.targets.isEmpty)
                continue
            }
            #expect(line.targets.isEmpty == without.contains(line.measure))
            for target in line.targets {
                #expect(line.ratios[target.times].map { ($0 >= target.atLeast) == target.reached } == true)
            }
        }
        let floors = lines.flatMap { line in line.targets.map { (line.image, line.measure, $0.times, $0.atLeast) } }
            .filter { $0.2 == "libfuse-loop" }
        #expect(floors.count == 1 && floors.allSatisfy { $0.0 == "raw" && $0.1 == "sequential" && $0.3 == 0.9 })
    }

    @Test("A server that cannot be measured is named in the table, and ends the run with 1 where it is rblockfs")
    func failure() throws {
        let result = try Tool.run(
            Self.program,
            [
                "--size", "16M", "--rounds", "1", "--images", "qcow2", "--measures", "random-1", "--servers",
                "rblockfs,bare-file", "--rblockfs", "/bin/false",
            ], timeout: 300)
        #expect(result.status == 1)
        let rows = result.text.split(separator: "\n").filter { $0.contains("rblockfs") || $0.contains("bare file") }
        #expect(rows.count == 2 && rows.first?.contains("does not open it") == true, "\(result.text)")
        #expect(
            result.errors.hasPrefix("rblock-bench: qcow2: random-1: rblockfs: does not open it"), "\(result.errors)")
    }

    @Test("Ctrl-C leaves no mount, loop device, process or file behind")
    func interrupted() throws {
        let folder = try TemporaryFolder()
        let script = """
            "$1" --folder "$2" --size 64M --rounds 50 --images qcow2 --measures losetup --servers rblockfs,bare-file &
            for turn in {1..600}; do
              losetup -n -O BACK-FILE | grep -q "^$2/" && break
              sleep 0.05
            done
            kill -TERM $!
            wait $!
            echo "$?"
            left() {
              grep -F " $2/" /proc/self/mountinfo
              losetup -n -O BACK-FILE | grep "^$2/"
              pgrep -a -f "$2/"
              ls "$2"
            }
            # A device that a program held open is gone a moment after the program.
            for turn in {1..100}; do
              [ -z "$(left "$@")" ] && break
              sleep 0.1
            done
            left "$@"
            """
        let result = try Shell.run(script, Self.program, folder.path, timeout: 300)
        #expect(result.text == "143\n", "\(result.text)\(result.errors)")
        withExtendedLifetime(folder) {}
    }

    @Test(
        "Wrong usage ends with 64",
        arguments: [
            ["--size", "1M"], ["--size", "17000001"], ["--rounds", "0"], ["--images", "qcow2,qcow3"],
            ["--measures", ""], ["--servers", "none"], ["--folder"], ["more"],
        ])
    func usage(arguments: [String]) throws {
        let result = try Tool.run(Self.program, arguments, timeout: 300)
        #expect(result.status == 64 && result.output.isEmpty, "\(arguments): \(result.errors)")
    }
}
