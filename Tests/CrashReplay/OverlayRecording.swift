import Foundation
import HostTools

/// Recordings of what servers and `rblock commit` do to an overlay besides writing to it: strace records the system calls of
/// a process that does it.
package enum OverlayRecording {
    /// Whether the programs are there that this takes.
    package static var isPossible: Bool { Tool.areThere("strace", "python3") }

    /// A process has the overlay of `files` made, by so many random requests of which one is the first that changes
    /// something, and closes it.
    package static func creation(
        of files: OverlayFiles, operations: Int, seed: UInt64
    ) throws -> (recording: Recording, judge: CreationJudge) {
        let recorder = Recorder([])
        let script = OverlayScript(recorder)
        let disk = RecordedDisk(
            script, recorder, sectorCount: files.sectorCount, run: files.run, generation: 100)
        var random = SeededRandom(seed: seed)
        try disk.change(operations, using: &random)
        try disk.flush()
        try disk.close()
        let commands = script.commands
        let folders = files.folders.filter { !FileManager.default.fileExists(atPath: $0) }
        let recording = try TracedProgram.record(
            [files.overlay] + folders,
            [Tool.built("rblock-crash"), "overlay", "--run", "\(files.run)"] + files.arguments,
            lines: commands.map(\.line), requests: commands.map(\.requests))
        return (recording, try CreationJudge(recording, files))
    }

    /// So many random requests write to an overlay of `files`.
    package static func write(to files: OverlayFiles, operations: Int, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let disk = RecordedDisk(
            try files.disk(), Recorder([]), sectorCount: files.sectorCount, run: files.run, generation: 100)
        try disk.write(0..<1)
        try disk.change(operations, using: &random)
        try disk.close()
    }

    /// `rblock commit` of the overlay of `files`, which is there.
    package static func commit(of files: OverlayFiles) throws -> Recording {
        try OverlayFiles.whenFree {
            try TracedProgram.record(
                [files.overlay, files.path],
                [Tool.rblock, "commit", "--yes", "--allow-path", files.imageFolder, files.overlay])
        }
    }
}
