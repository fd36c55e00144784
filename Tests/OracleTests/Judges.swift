import BlockImage
import Foundation
import HostTools
import ImageFormats
import TestImages
import Testing

/// What another reader makes of an image whose disk is known.
enum Verdict: Equatable {
    /// It reads the disk.
    case same
    /// It reads something else.
    case other
    /// It does not read the image.
    case refused
}

extension Oracle {
    /// We read the VMDK `name` as `disk`, whole and by `count` random reads, many of them across `borders`; and what
    /// qemu-img and the second reader make of it is what `qemu` and `second` say.
    ///
    /// Where qemu-img reads the same, the facts of `info` and
    /// the runs of `map` must be the same, too, but for `otherFacts`.
    func expect(
        _ name: String, is disk: [UInt8], qemu: Verdict = .same, second: Verdict = .same, borders: [Int] = [],
        count: Int = 300, otherFacts: [String] = [], ignoresParentID: Bool = false,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let (byQEMU, refusal) = try verdictOfQEMU(name, disk)
        #expect(byQEMU == qemu, "\(name), qemu-img: \(refusal)", sourceLocation: sourceLocation)
        let (bySecond, secondRefusal) = try verdictOfSecondReader(name, disk)
        #expect(bySecond == second, "\(name), the second reader: \(secondRefusal)", sourceLocation: sourceLocation)
        let opened = open(name, as: .vmdk, ignoresParentID: ignoresParentID)
        let image: Image
        do {
            image = try opened.disk.result.get()
        } catch {
            Issue.record("\(name) is refused: \(error)", sourceLocation: sourceLocation)
            return
        }
        #expect(
            try difference(of: image, from: disk, borders: borders, count: count) == nil, "\(name)",
            sourceLocation: sourceLocation)
        guard qemu == .same else { return }
        let facts = try differencesOfInfo(opened, .vmdk)
        #expect(
            facts.map { String($0.prefix { $0 != ":" }) } == otherFacts, "\(name): \(facts)",
            sourceLocation: sourceLocation)
        #expect(try differencesOfMap(opened, image, .vmdk) == [], "\(name)", sourceLocation: sourceLocation)
    }

    /// What qemu-img makes of the VMDK `name`, whose disk is `disk`, and what it says.
    func verdictOfQEMU(_ name: String, _ disk: [UInt8]) throws -> (Verdict, String) {
        let raw = folder.file("qemu-img.raw")
        defer { try? FileManager.default.removeItem(atPath: raw) }
        let (isRead, refusal) = try QemuImg.reads(folder.file(name), format: "vmdk", into: raw)
        guard isRead else { return (.refused, refusal) }
        return (areSame(try Data(contentsOf: URL(fileURLWithPath: raw)), disk) ? .same : .other, refusal)
    }

    private func verdictOfSecondReader(_ name: String, _ disk: [UInt8]) throws -> (Verdict, String) {
        let raw = folder.file("second-reader.raw")
        defer { try? FileManager.default.removeItem(atPath: raw) }
        let (isRead, refusal) = try SecondReader.reads(folder.file(name), into: raw)
        guard isRead else { return (.refused, refusal) }
        return (areSame(try Data(contentsOf: URL(fileURLWithPath: raw)), disk) ? .same : .other, refusal)
    }

    /// Where what `image` reads is not `disk`, as a sentence; nil where all is right.
    func difference(
        of image: Image, from disk: [UInt8], borders: [Int] = [], count: Int, seed: UInt64 = 1
    ) throws -> String? {
        guard image.virtualSize == disk.count else {
            return "the disk has \(image.virtualSize) bytes, but must have \(disk.count)"
        }
        let whole = try image.wholeDisk()
        if !areSame(whole, disk) {
            let wrong = zip(whole, disk).enumerated().first { $0.element.0 != $0.element.1 }
            return "the whole disk is wrong from byte \(wrong?.offset ?? 0) on"
        }
        guard !disk.isEmpty else { return nil }
        var random = SeededRandom(seed: seed)
        for round in 0..<count {
            var start = Int.random(in: 0..<disk.count, using: &random)
            var length = Int.random(in: 1...(round % 64 == 0 ? 300_000 : 3000), using: &random)
            if round % 2 == 1, let border = borders.randomElement(using: &random) {
                start = max(0, border - Int.random(in: 0...700, using: &random))
                length = border - start + Int.random(in: 1...700, using: &random)
            }
            start = min(start, disk.count - 1)
            length = min(length, disk.count - start)
            if !areSame(try image.bytes(length, at: UInt64(start)), disk[start..<start + length]) {
                return "\(length) bytes at \(start) are wrong, seed \(seed)"
            }
        }
        return nil
    }

    /// Writes a descriptor to the file `name`.
    func write(_ descriptor: VMDKDescriptorText, to name: String) throws {
        try folder.write(descriptor.bytes(), to: name)
    }
}

/// Whether the tests that ask qemu-img and the second reader can run.
let canAskBothReaders = Tool.areThere("qemu-img", "qemu-io", SecondReader.python)
