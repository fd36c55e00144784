import CrashReplay
import HostTools
import Testing

/// Overlays, made and committed by real processes whose system calls are recorded.
@Suite(.enabled(if: OverlayRecording.isPossible))
struct `A power cut` {
    private func figures(_ kind: CrashScripts.Kind, _ count: Int) -> CrashFigures {
        var scripts = CrashScripts()
        (scripts.kinds, scripts.scripts, scripts.seed) = ([kind], count, 900_000)
        // Going on takes the longer of all.
        (scripts.perOperation, scripts.continuedEvery) = (48, 40)
        return scripts.run().total
    }

    @Test func `while an overlay comes to be leaves none, or a sound one with all that was flushed`() {
        let figures = figures(.creation, 16)
        #expect(figures.violations == 0, "\(figures.examples.joined(separator: "\n"))")
        #expect(figures.distinct > 3000 && figures.continued > 60, "\(figures)")
    }

    @Test func `while an overlay is committed leaves the same disk, and the commit can be done again`() {
        let figures = figures(.commit, 16)
        #expect(figures.violations == 0, "\(figures.examples.joined(separator: "\n"))")
        #expect(figures.recordings > 20 && figures.distinct > 3000 && figures.continued > 60, "\(figures)")
    }
}

/// The same where the order is wrong: the recording of the real program, with operations left out or moved.
@Suite(.enabled(if: OverlayRecording.isPossible))
struct `What is wrong in the order of` {
    /// An image that `body` has chosen, with what was written over it.
    private func files(_ body: (inout OverlayFiles.Shape) -> Void) throws -> OverlayFiles {
        var shape = OverlayFiles.Shape(seed: 5)
        (shape.image, shape.isRaw, shape.isNested, shape.hasFolder) = (CrashImage.Shape(), false, false, true)
        body(&shape)
        return try OverlayFiles(shape, run: 5)
    }

    private func look(at recording: Recording, _ judge: any CrashJudge) -> CrashFigures {
        var run = CrashRun()
        (run.options.limit, run.continuedEvery) = (32, 25)
        return run.look(at: recording, judge)
    }

    enum CreationFault: CaseIterable {
        case none
        /// It gets its name before its bytes are on stable storage.
        case nameBeforeBytes
        /// Its name is not put on stable storage.
        case nameUnsynced
        /// That of its folder is not.
        case folderUnsynced
    }

    @Test(arguments: CreationFault.allCases) func `the creation of an overlay is found`(fault: CreationFault) throws {
        let files = try files { ($0.isNested, $0.hasFolder) = (true, false) }
        let (recording, judge) = try OverlayRecording.creation(of: files, operations: 8, seed: 3)
        let wrong = recording.reordered { operations in
            switch fault {
            case .none: break
            case .nameBeforeBytes:
                let name = operations.firstIndex { $0.isLink(of: 0) } ?? 0
                operations.removeAll(from: 0, to: name) { $0.isSync(of: 0) }
            case .nameUnsynced: operations.removeAll(from: 0, to: .max) { $0.isFolderSync(of: 0) }
            case .folderUnsynced: operations.removeAll(from: 0, to: .max) { $0.isFolderSync(of: 2) }
            }
        }
        #expect(fault == .none || wrong.operations.count < recording.operations.count)
        let figures = look(at: wrong, judge)
        #expect((figures.violations > 0) == (fault != .none), "\(figures.examples)")
    }

    enum CommitFault: CaseIterable {
        case none
        /// The overlay is removed before the image is on stable storage.
        case removalBeforeSync
        /// The overlay does not say that a commit has begun.
        case noMark
        /// That it says so is not put on stable storage.
        case markUnsynced
    }

    @Test(arguments: CommitFault.allCases, [true, false])
    func `a commit is found`(fault: CommitFault, isRaw: Bool) throws {
        let files = try files { $0.isRaw = isRaw }
        try OverlayRecording.write(to: files, operations: 8, seed: 3)
        let judge = try CommitJudge(files)
        let recording = try OverlayRecording.commit(of: files)
        let wrong = recording.reordered { operations in
            switch fault {
            case .none: break
            case .removalBeforeSync:
                let removal = operations.lastIndex { if case .change(.unlink, file: 0) = $0 { true } else { false } }
                // The first: what a QCOW2 image gives up comes last, and needs none.
                let sync = operations.firstIndex { $0.isSync(of: 1) }
                guard let removal, let sync, sync < removal else { return }
                operations.insert(operations.remove(at: removal), at: sync)
            case .noMark: operations.removeAll(from: 0, to: .max) { $0.isWrite(to: 0) }
            case .markUnsynced: operations.removeAll(from: 0, to: .max) { $0.isSync(of: 0) }
            }
        }
        let figures = look(at: wrong, judge)
        #expect((figures.violations > 0) == (fault != .none), "\(figures.examples)")
    }
}

extension HostOperation {
    fileprivate func isLink(of file: Int) -> Bool {
        if case .change(.link, file: file) = self { true } else { false }
    }

    fileprivate func isWrite(to file: Int) -> Bool {
        if case .change(.write, file: file) = self { true } else { false }
    }

    fileprivate func isSync(of file: Int) -> Bool {
        if case .sync(file: file, covering: _) = self { true } else { false }
    }

    fileprivate func isFolderSync(of file: Int) -> Bool {
        if case .syncFolder(let files, covering: _) = self { files.contains(file) } else { false }
    }
}

extension [HostOperation] {
    fileprivate mutating func removeAll(from first: Int, to end: Int, where isMeant: (HostOperation) -> Bool) {
        self = enumerated().filter { !($0 >= first && $0 < end && isMeant($1)) }.map(\.element)
    }
}
