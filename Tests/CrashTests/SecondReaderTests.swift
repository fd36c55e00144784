import Foundation
import HostTools
import TestImages
import Testing

@testable import CrashReplay

/// QEMU as second judge, of a sample.
struct `What a power cut leaves of an image that the write core wrote` {
    static var isThere: Bool { Tool.areThere("qemu-img", "qemu-io") }

    /// The script is that of the seed.
    @Test(.enabled(if: isThere), arguments: 1...8 as ClosedRange<UInt64>)
    func `is sound to QEMU, which reads the same and can write on`(seed: UInt64) throws {
        let folder = try TemporaryFolder()
        let image = try CrashImage(CrashImage.Shape(seed: seed), run: seed)
        if let backing = image.backing { try folder.write(try backing.wholeDisk(), to: "base.raw") }
        let recording = try image.record({ try CoreDisk($0, below: $1) }, operations: 16, seed: seed)
        let subject = image.subject(nil)
        let judge = try QCOW2Judge(recording, subject)
        var run = CrashRun()
        run.options.limit = 16
        var number = 0
        let figures = try run.look(at: recording, judge) { state, _ in
            number += 1
            guard number % 70 == 0, state.isNamed[0] else { return }
            let path = try folder.write(state.files[0].bytes, to: "state.qcow2")
            let check = try QemuImg.check(path, format: "qcow2")
            #expect(check.object["corruptions"] == nil && [0, 3].contains(check.status), "\(state.name): \(check)")
            let ours = try QCOW2State(state.files[0], subject).disk.wholeDisk()
            try QemuImg.convert(path, from: "qcow2", to: folder.file("raw"), as: "raw")
            let theirs = try Data(contentsOf: URL(fileURLWithPath: folder.file("raw")))
            #expect(theirs.elementsEqual(ours), "\(state.name): QEMU reads other bytes")
            try QemuImg.io(path, ["write -P 7 0 64k", "discard 1k 8k", "flush"])
            let after = try QemuImg.check(path, format: "qcow2")
            #expect(after.object["corruptions"] == nil, "\(state.name), written on: \(after)")
        }
        #expect(figures.violations == 0 && number >= 70, "\(figures.examples)")
    }
}
