import Foundation
import HostTools
import Testing

@testable import CrashReplay

/// Every call that the host does for an overlay that comes to be and is written to, failing once, and from then on.
@Suite(.enabled(if: OverlayRecording.isPossible))
struct `A host that fails while an overlay comes to be` {
    struct Fault: CustomTestStringConvertible, Sendable {
        var call: String
        var error: String

        var testDescription: String { "\(call), \(error)" }
    }

    static let faults = [
        Fault(call: "pwrite64", error: "ENOSPC"), Fault(call: "pwrite64", error: "EIO"),
        Fault(call: "fallocate", error: "ENOSPC"), Fault(call: "ftruncate", error: "EIO"),
        Fault(call: "fdatasync", error: "EIO"), Fault(call: "fsync", error: "EIO"),
        Fault(call: "linkat", error: "ENOSPC"), Fault(call: "renameat2", error: "EIO"),
        Fault(call: "mkdir", error: "ENOSPC"),
    ]

    /// What a process came to in which this happened.
    private struct Outcome {
        var recording: Recording
        var wasInjected: Bool
        var answers: [Substring]
    }

    private func run(_ files: OverlayFiles, _ fault: Fault, _ number: Int, isLasting: Bool) throws -> Outcome {
        let recorder = Recorder([])
        let script = OverlayScript(recorder)
        let disk = RecordedDisk(script, recorder, sectorCount: files.sectorCount, run: files.run, generation: 100)
        var random = SeededRandom(seed: 11)
        try disk.write(3..<300)
        try disk.flush()
        try disk.discard(0..<256)
        try disk.flush()
        try disk.change(8, using: &random)
        try disk.flush()
        try disk.close()
        let commands = script.commands
        let result = try Tool.run(
            "bash",
            [
                "-c",
                """
                printf '%s' "$1" | strace -f -qq -e trace=$2 -e inject=$2:error=$3:when=$4 "${@:5}"
                """, "-", commands.map { "\($0.line)\n" }.joined(), fault.call, fault.error,
                "\(number)\(isLasting ? "+" : "")", Tool.built("rblock-crash"), "overlay", "--run", "\(files.run)",
            ] + files.arguments)
        let answers = result.text.split(separator: "\n")
        var recording = Recording([HostContent()], isNamed: [false])
        for (command, answer) in zip(commands, answers) {
            let requests = command.requests.map { recording.issue($0.kind, $0.sectors) }
            if answer == "done" { for request in requests { recording.acknowledge(request) } }
        }
        #expect(answers.count == commands.count || result.status == 1, "\(result)")
        return Outcome(recording: recording, wasInjected: result.errors.contains("(INJECTED)"), answers: answers)
    }

    @Test(arguments: faults) func `leaves none, or a sound one with all that was acknowledged`(fault: Fault) throws {
        var number = 1
        while true {
            for isLasting in [false, true] {
                var shape = OverlayFiles.Shape(seed: 5)
                shape.image = CrashImage.Shape()
                (shape.isRaw, shape.isNested, shape.hasFolder) = (number % 2 == 0, true, fault.call != "mkdir")
                let files = try OverlayFiles(shape, run: 5)
                let outcome = try run(files, fault, number, isLasting: isLasting)
                guard outcome.wasInjected else {
                    #expect(number > 1 && outcome.answers.allSatisfy { $0 == "done" }, "\(outcome.answers)")
                    return
                }
                let place: Comment = "\(fault.call) \(number), lasting: \(isLasting): \(outcome.answers)"
                #expect(!outcome.answers.isEmpty || fault.call == "mkdir", place)
                // What could not be synced once is not taken for synced later.
                if fault.call == "fdatasync" { #expect(outcome.answers.last?.hasPrefix("failed") == true, place) }
                #expect(try files.imageContent().digest == files.content.digest, place)
                let folder = (files.overlay as NSString).deletingLastPathComponent
                let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
                #expect(names.allSatisfy { $0 == "disk.raw.overlay.qcow2" || $0 == "disk.qcow2.overlay.qcow2" }, place)
                let content = files.overlayContent
                let state = CrashState(
                    files: [content ?? HostContent()], isNamed: [content != nil], prefix: 0, losses: "", time: .max)
                let judge = try CreationJudge(outcome.recording, files)
                let complaints = judge.complaints(state, writes: 12, seed: UInt64(number))
                #expect(complaints.isEmpty, "\(place): \(complaints)")
            }
            number += 1
        }
    }
}
