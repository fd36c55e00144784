import BlockImage
import Foundation
import HostStorage
import HostTools
import SystemPackage
import TestImages
import Testing

@testable import QCOW2

@Suite(.enabled(if: Tool.areThere("qemu-img", "qemu-io")))
struct `An image that QEMU writes to as well` {
    /// The commands of qemu-io, and this program's calls, each on the file after the other.
    private struct Alternation {
        let folder: TemporaryFolder
        let below: Image?
        var expected: [UInt8]
        var random: SeededRandom

        var path: String { folder.file("disk.qcow2") }

        /// A range of whole sectors.
        mutating func range() -> Range<Int> {
            let start = Int.random(in: 0..<expected.count / 512, using: &random) * 512
            let count = 512 << Int.random(in: 0...8, using: &random)
            return start..<min(start + count * Int.random(in: 1...3, using: &random), expected.count)
        }

        mutating func write() throws {
            let layer = try openWritable(LocalWritableFile(at: FilePath(path)), below: below)
            #expect(try areSame(layer.read(0..<expected.count, below: below), expected))
            for _ in 0..<8 {
                let range = range()
                let start = GuestOffset(UInt64(range.lowerBound))
                switch Int.random(in: 0..<8, using: &random) {
                case 0, 1:
                    try layer.zero(UInt64(range.count), at: start, mayUnmap: Bool.random(using: &random))
                    expected.clear(range)
                case 2: try layer.flush()
                default:
                    let bytes = [UInt8].noise(range.count, salt: random.next())
                    try layer.write(bytes, at: start.rawValue)
                    expected.overwrite(from: range.lowerBound, with: bytes)
                }
            }
            try layer.close()
        }

        mutating func writeByQEMU() throws {
            var commands: [String] = []
            for _ in 0..<8 {
                let range = range()
                switch Int.random(in: 0..<8, using: &random) {
                case 0, 1:
                    commands.append(
                        "write -z \(Bool.random(using: &random) ? "-u " : "")\(range.lowerBound) \(range.count)")
                    expected.clear(range)
                case 2: commands.append("flush")
                default:
                    let byte = UInt8.random(in: 1...255, using: &random)
                    commands.append("write -P \(byte) \(range.lowerBound) \(range.count)")
                    expected.overwrite(
                        from: range.lowerBound, with: [UInt8](repeating: byte, count: range.count))
                }
            }
            try QemuImg.io(path, commands)
        }
    }

    @Test(arguments: [(16, true, true), (12, false, false), (16, false, true), (9, false, true)])
    func `in turn holds what both wrote`(clusters: (bits: Int, isExtended: Bool, hasBelow: Bool)) throws {
        let folder = try TemporaryFolder()
        var image = NewQCOW2(size: 2 << 20)
        image.clusterSize = 1 << UInt64(clusters.bits)
        image.hasExtendedL2 = clusters.isExtended
        var expected = [UInt8](repeating: 0, count: 2 << 20)
        var below: Image?
        if clusters.hasBelow {
            let bytes = [UInt8].noise(1 << 20 + 512, salt: 4)
            try folder.write(bytes, to: "below.raw")
            below = Image(layer: RawLayer(file: MemoryFile(bytes)))
            image.backing = NewQCOW2.Backing(name: Array("below.raw".utf8), format: "raw")
            expected.overwrite(from: 0, with: bytes)
        }
        try folder.write([], to: "disk.qcow2")
        try QCOW2Overlay.create(image, in: LocalWritableFile(at: FilePath(folder.file("disk.qcow2"))))
        var both = Alternation(
            folder: folder, below: below, expected: expected, random: SeededRandom(seed: UInt64(clusters.bits)))
        for _ in 0..<12 {
            try both.write()
            let check = try QemuImg.check(both.path, format: "qcow2")
            try #require(check.status == 0, "seed \(clusters.bits): \(check)")
            try both.writeByQEMU()
        }
        try both.write()
        try folder.write(both.expected, to: "expected.raw")
        let check = try QemuImg.check(both.path, format: "qcow2")
        #expect(check.status == 0, "\(check)")
        try QemuImg.run("compare", "-f", "qcow2", "-F", "raw", both.path, folder.file("expected.raw"))
    }

    @Test func `may end amid its last cluster, and the rest of that is written to`() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("disk.qcow2")
        var image = NewQCOW2(size: 2 << 20)
        image.hasExtendedL2 = true
        try folder.write([], to: "disk.qcow2")
        try QCOW2Overlay.create(image, in: LocalWritableFile(at: FilePath(path)))
        try QemuImg.io(path, ["write -P 1 0 2048"])
        try #require(try Status(path).size % 65536 == 2048)
        let layer = try openWritable(LocalWritableFile(at: FilePath(path)))
        let bytes = [UInt8].noise(4096, salt: 1)
        try layer.write(bytes, at: 32768)
        #expect(try areSame(layer.read(32768..<36864, below: nil), bytes))
        try layer.close()
        let again = try openWritable(LocalWritableFile(at: FilePath(path)))
        #expect(try areSame(again.read(32768..<36864, below: nil), bytes))
        try again.close()
        let check = try QemuImg.check(path, format: "qcow2")
        #expect(check.status == 0, "\(check)")
    }
}
