import BlockImage
import CrashReplay
import Foundation
import HostTools
import TestImages
import Testing

/// QEMU loses data at a power cut in a few known places: what does not find these finds nothing else, either.
struct `Run against QEMU, the instrument of power cuts` {
    static var isThere: Bool { Tool.areThere("strace", "qemu-io", "qemu-img", "python3") }

    /// QEMU frees the host cluster of compressed data in memory, and puts the next write's data there, before the L2 table
    /// that no longer leads to it is on the disk.
    @Test(.enabled(if: isThere)) func `finds the compressed cluster that QEMU loses`() throws {
        let image = try QEMUImage(sectors: 256, data: 0..<16, compressed: true)
        for cluster in 0..<4 { try image.write(cluster * 8..<cluster * 8 + 8) }
        image.flush()
        let recording = try image.record()
        let judge = try QCOW2Judge(recording, .init(run: image.run))
        let figures = CrashRun().look(at: recording, judge)
        #expect(figures.violations > 0 && figures.violations < figures.distinct)
        #expect(figures.examples.contains { $0.contains("is unreadable (compressed cluster") })
    }

    /// From when the active L1 table is written until the COPIED flags are, writing goes to clusters of the snapshot.
    @Test(.enabled(if: isThere)) func `finds the snapshot that QEMU changes after it was applied`() throws {
        let image = try QEMUImage(sectors: 256, data: 0..<128)
        try QemuImg.run("snapshot", "-c", "first", image.path)
        for cluster in 0..<4 { try image.write(cluster * 8..<cluster * 8 + 8) }
        try image.perform()
        // The disk is as it was, or as the snapshot: that was its first content.
        let first = (0..<256).map { $0 < 128 ? 1 : 0 as UInt64 }
        let recording = try TracedProgram.record(
            image.path, ["qemu-img", "snapshot", "-a", "first", image.path], before: [.init(.write(first), 0..<256)])
        let judge = try QCOW2Judge(recording, .init(run: image.run))
        var changed = 0
        let figures = try CrashRun().look(at: recording, judge) { state, complaints in
            let after = try image.writeOn(from: state) { try image.write(0..<64) }
            let found = judge.complaints(about: after.content, writtenOnFrom: state, after.requests)
            guard found.contains(where: { $0.contains("of snapshot") }) else { return }
            changed += 1
            // The judge has to object to the state itself: `qemu-img check` repairs it, but who writes first loses.
            let isSeen = complaints.contains { $0.contains("COPIED is set") }
            #expect(isSeen, "\(state.name): \(complaints)")
        }
        #expect(figures.violations > 0 && changed > 0)
    }

    /// The header names the new backing file before the L2 tables lead to what was copied from the old one.
    @Test(.enabled(if: isThere)) func `finds the bytes that QEMU loses when it rebases`() throws {
        let folder = try TemporaryFolder()
        func base(_ name: String, _ generation: UInt64) throws -> Image {
            let generations = Array(repeating: generation, count: 128)
            let bytes = GuestSector.bytes(from: 0, generations: generations, run: 3)
            try folder.write(bytes, to: name)
            return Image(layer: RawLayer(file: MemoryFile(bytes)))
        }
        var subject = QCOW2Judge.Subject(run: 3)
        subject.backings = ["old.raw": try base("old.raw", 1), "new.raw": try base("new.raw", 2)]
        let path = folder.file("image.qcow2")
        try QemuImg.create(path, size: nil, options: ["cluster_size=4096"], backing: ("old.raw", "raw"))
        let recording = try TracedProgram.record(
            path, ["qemu-img", "rebase", "-f", "qcow2", "-F", "raw", "-b", "new.raw", path])
        let figures = CrashRun().look(at: recording, try QCOW2Judge(recording, subject))
        #expect(figures.violations > 0 && figures.violations < figures.distinct, "\(figures)")
        let isLost = figures.examples.contains { $0.contains("is generation 2, but must be generation 1") }
        #expect(isLost, "\(figures.examples)")
    }

    @Test(.enabled(if: isThere)) func `finds nothing where QEMU writes to clusters that were not there`() throws {
        let image = try QEMUImage(sectors: 256, data: 0..<128)
        for cluster in 12..<20 { try image.write(cluster * 8..<cluster * 8 + 8) }
        image.flush()
        for cluster in 24..<28 { try image.write(cluster * 8 + 2..<cluster * 8 + 5) }
        image.zero(0..<16)
        image.flush()
        let recording = try image.record()
        let judge = try QCOW2Judge(recording, .init(run: image.run))
        var number = 0
        let figures = try CrashRun().look(at: recording, judge) { state, _ in
            number += 1
            guard number % 40 == 0 else { return }
            let after = try image.writeOn(from: state) { try image.write(100..<180) }
            let found = judge.complaints(about: after.content, writtenOnFrom: state, after.requests)
            #expect(found.isEmpty && after.corruptions == 0, "\(state.name), then written to: \(found)")
        }
        #expect(figures.violations == 0, "\(figures.examples)")
        #expect(figures.distinct > 500)
    }

}
