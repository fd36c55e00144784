import BlockImage
import FormatCore
import Foundation
import HostTools
import TestImages
import Testing

@testable import QCOW2

/// Opens the image in `file` to be written to, over `below`.
func openWritable(_ file: any WritableFile, below: Image? = nil) throws(ImageError) -> WritableQCOW2 {
    try WritableQCOW2(try QCOW2Description(file), file: file, below: below, resources: LayerResources())
}

/// The bytes of `[UInt8]`s and files that tests hand around.
extension WritableLayer {
    func write(_ bytes: [UInt8], at start: UInt64) throws(ImageError) {
        try write(bytes.span.bytes, at: GuestOffset(start))
    }

    /// What the disk over `below` has.
    func read(_ range: Range<Int>, below: Image?) throws(ImageError) -> [UInt8] {
        try Image(layer: self, backing: below).bytes(range.count, at: UInt64(range.lowerBound))
    }
}

/// A disk that is written to, beside an array of bytes that says what it must be.
struct WrittenDisk {
    let belowBytes: [UInt8]
    let below: Image?
    var file: MemoryWritableFile
    var layer: WritableQCOW2
    var expected: [UInt8]
    var random: SeededRandom

    /// A new, empty image over `below`.
    init(_ image: NewQCOW2, below: [UInt8]? = nil, seed: UInt64) throws {
        let file = MemoryWritableFile()
        var image = image
        image.backing = below.map { _ in NewQCOW2.Backing(name: Array("below.raw".utf8), format: "raw") }
        try QCOW2Overlay.create(image, in: file)
        try self.init(MemoryWritableFile(file.bytes), below: below, seed: seed)
    }

    /// The image in `file`.
    init(_ file: MemoryWritableFile, below: [UInt8]? = nil, seed: UInt64) throws {
        belowBytes = below ?? []
        self.below = below.map { Image(layer: RawLayer(file: MemoryFile($0))) }
        self.file = file
        layer = try openWritable(file, below: self.below)
        expected = try layer.read(0..<Int(layer.virtualSize), below: self.below)
        random = SeededRandom(seed: seed)
    }

    /// A range of the disk: often it begins or ends at a cluster, a subcluster or a sector.
    mutating func range(most: Int) -> Range<Int> {
        let units = [1, 512, Int(layer.format.clusterSize) / 32, Int(layer.format.clusterSize)].filter { $0 > 0 }
        let unit = units.randomElement(using: &random) ?? 1
        let start = Int.random(in: 0..<expected.count, using: &random) / unit * unit
        let length = Int.random(in: 1...max(1, most / unit), using: &random) * unit
        return start..<min(start + length, expected.count)
    }

    /// Does one random operation, and says what it did.
    mutating func step(most: Int) throws -> String {
        let range = range(most: most)
        let start = UInt64(range.lowerBound)
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<9:
            let bytes = [UInt8].noise(range.count, salt: random.next())
            try layer.write(bytes, at: start)
            expected.overwrite(from: range.lowerBound, with: bytes)
            return "write \(range)"
        case 9..<12:
            let mayUnmap = Bool.random(using: &random)
            try layer.zero(UInt64(range.count), at: GuestOffset(start), mayUnmap: mayUnmap)
            expected.clear(range)
            return "zero \(range), may unmap: \(mayUnmap)"
        case 12..<14:
            try layer.discard(UInt64(range.count), at: GuestOffset(start))
            try noteDiscarded(range)
            return "discard \(range)"
        case 14..<16:
            try layer.flush()
            return "flush"
        case 16:
            try layer.writeBack()
            return "write back"
        case 17:
            try reopen()
            return "reopen"
        default:
            try #require(try areSame(layer.read(range, below: below), expected[range]), "bytes \(range)")
            return "read \(range)"
        }
    }

    /// Each cluster, or subcluster, of a range that was discarded reads as zeros or as before: as zeros where it is whole,
    /// and as before at the edges.
    private mutating func noteDiscarded(_ range: Range<Int>) throws {
        let granule = Int(layer.format.clusterSize) / (layer.format.isExtended ? 32 : 1)
        let first = (range.lowerBound + granule - 1) / granule * granule
        let end = range.upperBound == expected.count ? expected.count : range.upperBound / granule * granule
        guard first < end else { return }
        let found = try layer.read(first..<end, below: below)
        let cluster = Int(layer.format.clusterSize)
        for start in stride(from: first, to: end, by: granule) {
            let part = start..<min(start + granule, end)
            let isZero = found.isZero(part.lowerBound - first..<part.upperBound - first)
            // Compressed clusters are discarded as a whole only.
            let isWhole =
                start / cluster * cluster >= range.lowerBound
                && min((start / cluster + 1) * cluster, expected.count) <= range.upperBound
            if isWhole { try #require(isZero, "the discarded granule at \(start)") }
            if isZero { expected.clear(part) }
        }
    }

    /// Closes the image, and opens it again.
    mutating func reopen() throws {
        try layer.close()
        try judgeBytes(file.bytes, allowsLeaks: false)
        file = MemoryWritableFile(file.bytes)
        layer = try openWritable(file, below: below)
    }

    /// Has the repository's own check look at `bytes`.
    func judgeBytes(_ bytes: [UInt8], allowsLeaks: Bool) throws {
        let file = MemoryFile(bytes)
        let result = try QCOW2Description(file).check(file)
        try #require(result.corruptions == 0 && result.checkErrors == 0, "\(result.findings)")
        if !allowsLeaks { try #require(result.leaks == 0, "\(result.findings)") }
    }

    /// Closes the image, and has `qemu-img` judge its file: no error, no leak, and the disk is what it must be.
    func finish() throws {
        try #require(try areSame(layer.read(0..<expected.count, below: below), expected))
        try layer.close()
        try judgeBytes(file.bytes, allowsLeaks: false)
        let folder = try TemporaryFolder()
        try folder.write(file.bytes, to: "image.qcow2")
        if below != nil { try folder.write(belowBytes, to: "below.raw") }
        try folder.write(expected, to: "expected.raw")
        let check = try QemuImg.check(folder.file("image.qcow2"), format: "qcow2")
        try #require(check.status == 0, "\(check.object) \(check.errors)")
        try QemuImg.run("compare", "-f", "qcow2", "-F", "raw", folder.file("image.qcow2"), folder.file("expected.raw"))
    }
}
