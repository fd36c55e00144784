import BlockImage
import Foundation
import HostTools
import QCOW2
import SystemPackage
import TestImages
import Testing

@testable import Catalog

/// Small images can have thousands of snapshots that share a table of many partitions.
struct `Exports of an image with many snapshots` {
    private static let count = 300

    /// A QCOW2 disk of 100 partitions with snapshots that have the same L1 table.
    private static func image(in folder: TemporaryFolder) throws -> String {
        let path = folder.file("many.qcow2")
        let made = try Shell.run(
            """
            set -e; truncate -s 1M "$1.raw"
            { echo 'label: gpt'; for n in $(seq 100); do echo "start=$((n + 100)), size=1"; done; } \\
                | sfdisk -q --no-reread "$1.raw"
            qemu-img convert -f raw -O qcow2 "$1.raw" "$1"
            """, path, timeout: 300)
        try #require(made.status == 0, "\(made.text)")
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
        bytes += [UInt8](repeating: 0, count: (0x10000 - bytes.count % 0x10000) % 0x10000)
        let table = UInt64(bytes.count)
        let l1 = bytes[40..<48].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let l1Size = bytes[36..<40].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        for index in 0..<count {
            let entry = Record().with(l1, l1Size, UInt16(4), UInt16(4), UInt32(0), UInt32(0), UInt64(0), UInt32(0))
                .with(UInt32(16), UInt64(0), UInt64(1 << 20))
            bytes += entry.bytes + Array("\(1000 + index)\(1000 + index)".utf8)
        }
        bytes.replaceSubrange(60..<72, with: Record().with(UInt32(count), table).bytes)
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return path
    }

    @Test func `are bounded, and what is left out is said`() throws {
        let folder = try TemporaryFolder()
        let opened = try NamedImage(FilePath(try Self.image(in: folder))).open(resources: LayerResources())
        let exports = ImageDisks(of: opened).list()
        let partitions = exports.filter { $0.suffix.contains("/p") }
        #expect(exports.count - partitions.count == 1 + Self.count && partitions.count == 100 * (1 + Self.count))
        #expect(exports.allSatisfy { !$0.summary.contains("left out") })

        let few = ImageDisks(of: opened).list(partitionLimit: 1_050)
        #expect(few.count { $0.suffix.contains("/p") } == 1_000)
        #expect(few.count { !$0.suffix.contains("/p") } == 1 + Self.count)
        let cut = few.filter { $0.summary.hasSuffix("its partitions are left out: the image has more than 1050") }
        #expect(cut.map(\.suffix).first == "@1009" && cut.count == Self.count - 9)
    }
}
