import BlockImage
import Foundation
import HostTools
import Synchronization
import TestImages
import Testing

@testable import QCOW2

/// A short scenario, and of each part of the disk what it may be: what it was at the last flush, or anything written since.
private struct FaultyDisk {
    /// Writes that fail are cut in halves: a part of this size is never cut.
    static let part = 256

    let file: MemoryWritableFile
    let layer: WritableQCOW2
    let disk: Image
    var expected: [UInt8]
    /// What each part was at the last flush, and has been since.
    var versions: [[[UInt8]]]
    var failures = 0
    /// Whether the disk is read after each change: not where reads are what fails.
    var looksEachTime = true

    /// A new image over `below`.
    init(_ image: NewQCOW2, below: [UInt8]) throws {
        let empty = MemoryWritableFile()
        var image = image
        image.backing = NewQCOW2.Backing(name: Array("below.raw".utf8), format: "raw")
        try QCOW2Overlay.create(image, in: empty)
        try self.init(HookedFile(MemoryWritableFile(empty.bytes)), below: below)
    }

    /// The image in `hooks`, over `below`.
    init(_ hooks: HookedFile, below: [UInt8]) throws {
        file = hooks.content
        let belowImage = Image(layer: RawLayer(file: MemoryFile(below)))
        layer = try openWritable(hooks, below: belowImage)
        disk = Image(layer: layer, backing: belowImage)
        // Not by this layer, so that it has read nothing yet.
        let other = try openWritable(MemoryWritableFile(file.bytes), below: belowImage)
        expected = try Image(layer: other, backing: belowImage).wholeDisk()
        versions = []
        versions = parts(of: expected).map { [$0] }
    }

    func parts(of bytes: [UInt8]) -> [[UInt8]] {
        stride(from: 0, to: bytes.count, by: Self.part).map { Array(bytes[$0..<$0 + Self.part]) }
    }

    /// Has `range` changed to `bytes`. Where that fails, each part of it must be as it was or as it was to be.
    mutating func change(
        _ range: Range<Int>, to bytes: [UInt8], _ body: (WritableQCOW2) throws(ImageError) -> Void
    ) throws {
        var wanted = expected
        wanted.overwrite(from: range.lowerBound, with: bytes)
        for (index, part) in parts(of: bytes).enumerated() {
            versions[range.lowerBound / Self.part + index].append(part)
        }
        do {
            try body(layer)
            expected = wanted
        } catch {
            failures += 1
            let found = try disk.wholeDisk()
            for (index, part) in parts(of: found).enumerated() {
                let place = index * Self.part..<(index + 1) * Self.part
                try #require(
                    areSame(part, expected[place]) || areSame(part, wanted[place]), "part \(index) after \(error)")
            }
            expected = found
        }
        if looksEachTime {
            try #require(areSame(disk.wholeDisk(), expected), "the disk is what was acknowledged")
        }
    }

    mutating func flush(_ body: (WritableQCOW2) throws(ImageError) -> Void) {
        do {
            try body(layer)
            versions = parts(of: expected).map { [$0] }
        } catch {
            failures += 1
        }
    }

    /// Looks at the file as it is, as after the end of the process.
    func judge() throws {
        let bytes = file.bytes
        let check = try QCOW2Description(MemoryFile(bytes)).check(MemoryFile(bytes))
        try #require(check.corruptions == 0 && check.checkErrors == 0, "\(check.findings)")
        let layer = try openWritable(MemoryWritableFile(bytes), below: disk.backing)
        let found = try Image(layer: layer, backing: disk.backing).wholeDisk()
        for (index, part) in parts(of: found).enumerated() {
            try #require(versions[index].contains { areSame($0, part) }, "part \(index) is something else")
        }
    }

    /// Writes, zeros and discards, with a flush now and then.
    mutating func runScenario(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let cluster = Int(layer.format.clusterSize)
        for step in 0..<22 {
            let unit = step % 3 == 0 ? cluster : 512
            let start = Int.random(in: 0..<expected.count / unit, using: &random) * unit
            let most = Int.random(in: 1...3, using: &random) * (step % 2 == 0 ? cluster : 512)
            let range = start..<min(start + max(most / unit, 1) * unit, expected.count)
            let place = GuestOffset(UInt64(start))
            let zeros = [UInt8](repeating: 0, count: range.count)
            switch step % 6 {
            case 4:
                try change(range, to: zeros) { layer throws(ImageError) in
                    try layer.zero(UInt64(range.count), at: place, mayUnmap: step % 4 == 0)
                }
            case 5 where unit == cluster:
                try change(range, to: zeros) { layer throws(ImageError) in
                    try layer.discard(UInt64(range.count), at: place)
                }
            default:
                let bytes = [UInt8].noise(range.count, salt: random.next())
                try change(range, to: bytes) { layer throws(ImageError) in try layer.write(bytes, at: UInt64(start)) }
            }
            if step % 5 == 4 { flush { layer throws(ImageError) in try layer.flush() } }
            if step % 7 == 6 {
                flush { layer throws(ImageError) in
                    try layer.flush()
                    try layer.writeBack()
                }
            }
        }
        flush { layer throws(ImageError) in try layer.close() }
    }
}

private final class ReadCount: Sendable {
    let count = Atomic(0)
}

@Suite(.enabled(if: Tool.areThere("qemu-img")))
struct `A host that fails` {
    struct Case: CustomTestStringConvertible, Sendable {
        var clusterSize: UInt64
        var refcountBits: UInt32
        var isExtended = false
        var size: Int

        var testDescription: String { "clusters of \(clusterSize)\(isExtended ? ", extended" : "")" }

        var image: NewQCOW2 {
            var image = NewQCOW2(size: UInt64(size))
            image.clusterSize = clusterSize
            image.refcountBits = refcountBits
            image.hasExtendedL2 = isExtended
            return image
        }
    }

    static let cases = [
        Case(clusterSize: 512, refcountBits: 64, size: 32 << 10),
        Case(clusterSize: 4096, refcountBits: 16, size: 96 << 10),
        Case(clusterSize: 16384, refcountBits: 2, isExtended: true, size: 256 << 10),
    ]

    /// ENOSPC and EIO, once and from then on.
    static let faults: [(errno: CInt, isLasting: Bool)] = [(28, false), (5, false), (28, true)]

    @Test(arguments: cases)
    func `at any one operation leaves a sound image and true answers`(testCase: Case) throws {
        let below = [UInt8].noise(testCase.size * 3 / 4, salt: 3)
        var sound = try FaultyDisk(testCase.image, below: below)
        sound.file.fail(nil)
        try sound.runScenario(seed: testCase.clusterSize)
        #expect(sound.failures == 0)
        try sound.judge()
        let count = sound.file.operationCount
        #expect(count > 40)
        for operation in 0..<count {
            for fault in Self.faults {
                let place = "operation \(operation) of \(count), error \(fault.errno), lasting: \(fault.isLasting)"
                do {
                    var disk = try FaultyDisk(testCase.image, below: below)
                    disk.file.fail(
                        MemoryWritableFile.Fault(
                            operation: operation, errno: fault.errno, isLasting: fault.isLasting))
                    try disk.runScenario(seed: testCase.clusterSize)
                    try #require(disk.file.hasFailed)
                    try disk.judge()
                    // What failed once goes on, unless it was a barrier.
                    disk.file.fail(nil)
                    guard disk.layer.metadata.withLock({ $0.failure }) == nil else {
                        try #require(disk.failures > 0)
                        continue
                    }
                    disk.flush { layer throws(ImageError) in try layer.close() }
                    try disk.judge()
                    let bytes = disk.file.bytes
                    let check = try QCOW2Description(MemoryFile(bytes)).check(MemoryFile(bytes))
                    try #require(check.leaks == 0, "\(check.findings)")
                } catch {
                    Issue.record("\(place): \(error)")
                }
            }
        }
    }

    @Test func `at any one read does so, too`() throws {
        let folder = try TemporaryFolder()
        let raw = folder.file("disk.raw")
        try Pattern.writeDisk(raw, size: 256 << 10, seed: 3)
        try QemuImg.convert(raw, to: folder.file("disk.qcow2"), options: ["cluster_size=4096"], compressed: true)
        let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder.file("disk.qcow2"))))
        /// The scenario, in which the read `number` after the opening fails; and how many there were.
        func run(failing number: Int) throws -> (disk: FaultyDisk, reads: Int) {
            let file = HookedFile(MemoryWritableFile(bytes))
            var disk = try FaultyDisk(file, below: [])
            disk.looksEachTime = false
            let reads = ReadCount()
            file.failsRead = { reads.count.add(1, ordering: .relaxed).oldValue == number }
            try disk.runScenario(seed: 8)
            let count = reads.count.load(ordering: .relaxed)
            try #require(areSame(disk.disk.wholeDisk(), disk.expected), "the disk is what was acknowledged")
            return (disk, count)
        }
        let (sound, reads) = try run(failing: .max)
        #expect(sound.failures == 0 && reads > 10, "\(reads)")
        for number in 0..<reads {
            do {
                let (disk, _) = try run(failing: number)
                try #require(disk.failures > 0)
                try disk.judge()
                let bytes = disk.file.bytes
                let check = try QCOW2Description(MemoryFile(bytes)).check(MemoryFile(bytes))
                try #require(check.leaks == 0, "\(check.findings)")
            } catch {
                Issue.record("read \(number) of \(reads): \(error)")
            }
        }
    }
}
