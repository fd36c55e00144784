import BlockImage
import HostTools
import QCOW2

/// Says of what a power cut left of a QCOW2 image what is wrong with it. The bytes of its disk and of its snapshots decide;
/// a check alone does not suffice.
package final class QCOW2Judge: CrashJudge {
    /// What it needs to know of an image.
    package struct Subject: Sendable {
        /// What the sectors of its disks are marked with.
        package var run: UInt64
        /// The image under it.
        package var backing: Image?
        /// The images that may be under it, by the names in its header, where that changes; else it is `backing`.
        package var backings: [String: Image] = [:]
        /// The file of the recording that it is.
        package var file = 0
        /// The generations of its sectors (0: zeros) where it is new; nil: those that it has.
        package var initial: [UInt64]?
        /// Whether the disk is that of `initial` as long as it has no name.
        package var isOverlay = false
        /// Opens it for writing, where it is one of ours: then writing goes on from each state.
        package var opener: DiskOpener?

        /// An image whose sectors are marked with `run`.
        package init(run: UInt64, backing: Image? = nil, opener: DiskOpener? = nil) {
            self.run = run
            self.backing = backing
            self.opener = opener
        }
    }

    private let subject: Subject
    private let history: DiskHistory
    private let floors: Guarded<[Int: DiskHistory.Floor]>
    private let snapshots: [String: [GuestSector]]
    /// The most complaints about one state.
    private static let limit = 4

    /// A judge of the states of `recording`, of which one file is the image, that is new or was sound before.
    ///
    /// Throws where it was not.
    package init(_ recording: Recording, _ subject: Subject) throws {
        self.subject = subject
        var initial = subject.initial ?? []
        var snapshots: [String: [GuestSector]] = [:]
        if subject.initial == nil {
            let state = try QCOW2State(recording.files[subject.file], subject)
            if let fault = try state.faults().first { throw ToolFailure(description: "before: \(fault)") }
            initial = try Self.generations(state.sectors(run: subject.run))
            snapshots = try state.snapshots(run: subject.run)
        }
        self.snapshots = snapshots
        history = DiskHistory(initial, recording.requests)
        floors = Guarded([:])
    }

    static func generations(_ sectors: [GuestSector]) throws -> [UInt64] {
        try sectors.enumerated().map { index, sector in
            switch sector {
            case .zeros: return 0
            case .generation(let generation): return generation
            case .foreign(let name): throw ToolFailure(description: "before: sector \(index) is \(name)")
            }
        }
    }

    /// What is wrong with what was left after the image was closed: not even a leak may be there.
    package func complaints(afterClosing content: HostContent) throws -> [String] {
        try QCOW2State(content, subject).faults(allowingLeaks: false)
            .map { "after closing: \($0)" }
    }

    /// How many flushes hold for `state`: of two states with the same content, the one with more may be wrong alone.
    package func flushCount(_ state: CrashState) -> Int { history.flushCount(at: state.time) }

    /// What is wrong with `state`; empty: nothing. `writes`: how many random operations go on from it, if that can be,
    /// after which it is judged again.
    package func complaints(_ state: CrashState, writes: Int, seed: UInt64) -> [String] {
        let count = history.flushCount(at: state.time)
        let floor = floors.withLock { floors in
            if let floor = floors[count] { return floor }
            let floor = history.floor(flushes: count)
            floors[count] = floor
            return floor
        }
        guard state.isNamed[subject.file] else {
            let isRight = subject.isOverlay ? history.allowsInitial(at: state.time, floor) : count == 0
            return isRight ? [] : ["the image has no name, but \(count) flushes were acknowledged"]
        }
        let content = state.files[subject.file]
        do {
            let image = try QCOW2State(content, subject)
            let sectors = image.sectors(run: subject.run)
            let complaints = try complaints(about: image, sectors, history, at: state.time, floor)
            guard complaints.isEmpty, writes > 0, let opener = subject.opener else { return complaints }
            return try write(on: content, sectors, opener, count: writes, seed: seed)
                .map { "\($0) (writing on with seed \(seed))" }
        } catch {
            return ["\(error)"]
        }
    }

    /// What is wrong with `content`, which writing on from `state` left; `requests` are those that were made then, all of
    /// them acknowledged.
    package func complaints(
        about content: HostContent, writtenOnFrom state: CrashState, _ requests: [ClientRequest]
    ) -> [String] {
        do {
            let before = try QCOW2State(state.files[subject.file], subject).sectors(run: subject.run)
            return try complaints(about: content, writtenOnFrom: before, requests)
        } catch {
            return ["\(error)"]
        }
    }

    /// The same, from a disk of these sectors.
    func complaints(
        about content: HostContent, writtenOnFrom sectors: [GuestSector], _ requests: [ClientRequest]
    ) throws -> [String] {
        let history = DiskHistory(try Self.generations(sectors), requests)
        let image = try QCOW2State(content, subject)
        return try complaints(
            about: image, image.sectors(run: subject.run), history, at: .max,
            history.floor(flushes: history.flushCount(at: .max)))
    }

    private func complaints(
        about image: QCOW2State, _ sectors: [GuestSector], _ history: DiskHistory, at time: Int,
        _ floor: DiskHistory.Floor
    ) throws -> [String] {
        var complaints = try Array(image.faults().prefix(Self.limit))
        if sectors.count != history.sectorCount {
            complaints.append("the disk has \(sectors.count) sectors, but must have \(history.sectorCount)")
        }
        let wrong = sectors.indices.prefix(history.sectorCount).filter {
            !history.allows(sectors[$0], in: $0, at: time, floor)
        }
        if let first = wrong.first {
            complaints.append(
                "sector \(first) of the disk is \(sectors[first]), but must be "
                    + history.allowed(in: first, at: time, floor) + Self.others(wrong.count))
        }
        let found = snapshots.isEmpty ? [:] : try image.snapshots(run: subject.run)
        for (id, old) in snapshots.sorted(by: { $0.key < $1.key }) {
            guard let new = found[id], new.count == old.count else {
                complaints.append("snapshot \(id) is not there")
                continue
            }
            let wrong = old.indices.filter { old[$0] != new[$0] }
            if let first = wrong.first {
                complaints.append(
                    "sector \(first) of snapshot \(id) is \(new[first]), but was \(old[first])"
                        + Self.others(wrong.count))
            }
        }
        return complaints
    }

    private static func others(_ count: Int) -> String { count == 1 ? "" : " (\(count - 1) others are wrong, too)" }

    /// Writes on from a sound state with these sectors, and says what is wrong then.
    private func write(
        on content: HostContent, _ sectors: [GuestSector], _ opener: DiskOpener, count: Int, seed: UInt64
    ) throws -> [String] {
        let recorder = Recorder([content])
        let file = RecordedFile(content)
        var random = SeededRandom(seed: seed)
        let disk = RecordedDisk(
            try opener(file, subject.backing), recorder, sectorCount: sectors.count, run: subject.run,
            generation: 1 << 40)
        try disk.change(count, using: &random)
        try disk.flush()
        return try complaints(about: file.content, writtenOnFrom: sectors, recorder.recording.requests)
    }
}
