import BlockImage
import HostTools

/// Says what is wrong with what a power cut left of an overlay that came to be: there is none, and the disk is that of the
/// image, where nothing that was flushed is lost; or it is complete, and sound. A server must be able to go on, too.
package final class CreationJudge: CrashJudge {
    private let files: OverlayFiles
    private let subject: QCOW2Judge.Subject
    private let judge: QCOW2Judge
    private let initial: [GuestSector]
    /// How many of the folders of the overlay were there before.
    private let folderCount: Int

    /// A judge of the states of `recording`: of the overlay of `files`, and of the folders of it that were made.
    package init(_ recording: Recording, _ files: OverlayFiles) throws {
        self.files = files
        folderCount = files.folders.count - (recording.files.count - 1)
        var subject = QCOW2Judge.Subject(run: files.run, backing: try files.disk(of: files.content).image)
        initial = QCOW2State.sectors(of: try files.disk(of: files.content).image, run: files.run)
        subject.initial = try QCOW2Judge.generations(initial)
        subject.isOverlay = true
        self.subject = subject
        judge = try QCOW2Judge(recording, subject)
    }

    package func flushCount(_ state: CrashState) -> Int { judge.flushCount(state) }

    package func complaints(_ state: CrashState, writes: Int, seed: UInt64) -> [String] {
        var state = state
        let made = state.isNamed.dropFirst().prefix { $0 }.count
        // What is in a folder without a name has none.
        if made < state.files.count - 1 { state.isNamed[0] = false }
        let complaints = judge.complaints(state, writes: 0, seed: seed)
        guard complaints.isEmpty, writes > 0 else { return complaints }
        do {
            let content = state.isNamed[0] ? state.files[0] : nil
            try files.putOverlay(content, leftover: state.files[0], folders: folderCount + made)
            return try writeOn(from: content, count: writes, seed: seed)
        } catch {
            return ["a server: \(error)"]
        }
    }

    /// Has a server write to what was put in place.
    private func writeOn(from content: HostContent?, count: Int, seed: UInt64) throws -> [String] {
        let before = try content.map { try QCOW2State($0, subject).sectors(run: files.run) } ?? initial
        let recorder = Recorder([])
        do {
            let disk = try files.disk()
            guard QCOW2State.sectors(of: disk.image, run: files.run) == before else {
                return ["a server shows another disk"]
            }
            let recorded = RecordedDisk(
                disk, recorder, sectorCount: files.sectorCount, run: files.run, generation: 1 << 40)
            var random = SeededRandom(seed: seed)
            try recorded.change(count, using: &random)
            try recorded.close()
        }
        let requests = recorder.recording.requests
        guard let after = files.overlayContent else {
            return requests.contains { $0.kind != .flush } ? ["a server has written to no overlay"] : []
        }
        return try judge.complaints(about: after, writtenOnFrom: before, requests)
            .map { "a server wrote on with seed \(seed): \($0)" }
    }
}
