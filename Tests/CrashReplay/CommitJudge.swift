import BlockImage
import Catalog
import HostTools
import ImageFormats
import Overlays
import QCOW2
import SystemPackage

/// Says what is wrong with what a power cut left of an overlay and the image that it is committed to: both together are the
/// disk, as long as the overlay is there, and then the image is. The same commit must be able to go on from it.
package final class CommitJudge: CrashJudge {
    private let files: OverlayFiles
    private let disk: [GuestSector]

    /// Where in what the header of the overlay has about the image the marks of a commit are.
    private static let markPlace = 31

    /// A judge of commits of the overlay that `files` has now.
    package init(_ files: OverlayFiles) throws {
        self.files = files
        let disk = try files.disk()
        self.disk = QCOW2State.sectors(of: disk.image, run: files.run)
        if let foreign = self.disk.first(where: { if case .foreign = $0 { true } else { false } }) {
            throw ToolFailure(description: "before: \(foreign)")
        }
    }

    /// None: nothing is written meanwhile.
    package func flushCount(_ state: CrashState) -> Int { 0 }

    package func complaints(_ state: CrashState, writes: Int, seed: UInt64) -> [String] {
        do {
            let complaints = try complaints(state)
            guard complaints.isEmpty, writes > 0, state.isNamed[0] else { return complaints }
            var random = SeededRandom(seed: seed)
            // Whether the file has another time is one more thing that may be lost.
            try files.put(state.files[1], isDated: Bool.random(using: &random))
            try files.putOverlay(state.files[0])
            return try goOn(writes: Bool.random(using: &random) ? writes : 0, seed: seed)
        } catch {
            return ["\(error)"]
        }
    }

    private func complaints(_ state: CrashState) throws -> [String] {
        let (image, faults) = try files.disk(of: state.files[1])
        var complaints = faults.map { "the image: \($0)" }
        guard state.isNamed[0] else { return complaints + differences(of: image, from: disk, "the image alone") }
        let overlay = try QCOW2State(state.files[0], .init(run: files.run, backing: image))
        complaints += try overlay.faults().map { "the overlay: \($0)" }
        complaints += differences(of: overlay.disk, from: disk, "the image with its overlay")
        let marks = overlay.description.extensions.baseIdentity?[Self.markPlace] ?? 0
        if marks == 0, state.files[1].digest != files.content.digest {
            complaints.append("the image is changed, and the overlay says nothing of a commit")
        }
        return complaints
    }

    private func differences(of image: Image, from disk: [GuestSector], _ name: String) -> [String] {
        let sectors = QCOW2State.sectors(of: image, run: files.run)
        guard sectors.count == disk.count else { return ["\(name) has \(sectors.count) sectors"] }
        guard let first = sectors.indices.first(where: { sectors[$0] != disk[$0] }) else { return [] }
        return ["\(name): sector \(first) is \(sectors[first]), and was \(disk[first])"]
    }

    /// Has a server write to what was put in place, unless it refuses that for the commit, and then the commit done again.
    private func goOn(writes: Int, seed: UInt64) throws -> [String] {
        var expected = disk
        if writes > 0, let changed = try serve(writes: writes, seed: seed) {
            guard changed.complaints.isEmpty else { return changed.complaints }
            expected = changed.sectors
        }
        try OverlayFiles.whenFree { try commit() }
        guard files.overlayContent == nil else { return ["done again, the commit leaves the overlay"] }
        let (image, faults) = try files.disk(of: try files.imageContent())
        return faults.map { "done again, the image: \($0)" }
            + differences(of: image, from: expected, "done again, the image")
    }

    private func commit() throws {
        let overlay = try OverlayFile(at: FilePath(files.overlay), takesLocks: true)
        var image = NamedImage(overlay.location, format: .qcow2)
        image.allowed = [FilePath(files.imageFolder)]
        _ = try OverlayCommit(overlay, try image.open()).run { _ in }
    }

    /// Nil: the server refuses to show the disk, for the commit that has begun.
    private func serve(writes: Int, seed: UInt64) throws -> (complaints: [String], sectors: [GuestSector])? {
        let recorder = Recorder([])
        do {
            let server: OverlaidDisk
            do { server = try files.disk() } catch let error as ImageError
                where error.description.contains("'rblock commit' has written a part of it")
            { return nil }
            let wrong = differences(of: server.image, from: disk, "a server")
            guard wrong.isEmpty else { return (wrong, []) }
            let recorded = RecordedDisk(
                server, recorder, sectorCount: disk.count, run: files.run, generation: 1 << 40)
            var random = SeededRandom(seed: seed)
            try recorded.change(writes, using: &random)
            try recorded.close()
        }
        let (image, _) = try files.disk(of: try files.imageContent())
        let subject = QCOW2Judge.Subject(run: files.run, backing: image)
        guard let after = files.overlayContent else { return (["a server removes the overlay"], []) }
        let judge = try QCOW2Judge(Recording([after]), subject)
        return (
            try judge.complaints(about: after, writtenOnFrom: disk, recorder.recording.requests),
            try QCOW2State(after, subject).sectors(run: files.run)
        )
    }
}
