import HostTools

/// Scripts about overlays, which are files of the host: other processes make and commit them.
extension CrashScripts {
    func lookAtCreation(_ seed: UInt64) -> CrashFigures {
        let shape = OverlayFiles.Shape(seed: seed)
        let name = "creation, seed \(seed) (\(shape)): "
        return counting(name) {
            let files = try OverlayFiles(shape, run: seed)
            let (recording, judge) = try OverlayRecording.creation(of: files, operations: operations, seed: seed)
            return look(with: shape, seed).look(at: recording, judge, name: name)
        }
    }

    func lookAtCommit(_ seed: UInt64) -> CrashFigures {
        let shape = OverlayFiles.Shape(seed: seed)
        let name = "commit, seed \(seed) (\(shape)): "
        return counting(name) {
            let files = try OverlayFiles(shape, run: seed)
            try OverlayRecording.write(to: files, operations: operations, seed: seed)
            let judge = try CommitJudge(files)
            let recording = try OverlayRecording.commit(of: files)
            var run = look(with: shape, seed)
            var random = SeededRandom(seed: seed)
            var chosen: CrashState?
            var sound = 0
            var figures = run.look(at: recording, judge, name: name) { state, complaints in
                guard complaints.isEmpty, state.isNamed[0], state.files[1].digest != files.content.digest else {
                    return
                }
                sound += 1
                if Int.random(in: 0..<sound, using: &random) == 0 { chosen = state }
            }
            // The next power cut, in a commit that is done again.
            if let chosen {
                try files.put(chosen.files[1], isDated: seed % 2 == 0)
                try files.putOverlay(chosen.files[0])
                run.options.limit = max(2, run.options.limit / 4)
                figures += run.look(
                    at: try OverlayRecording.commit(of: files), judge, name: "\(name)second power cut: ")
            }
            return figures
        }
    }

    private func look(with shape: OverlayFiles.Shape, _ seed: UInt64) -> CrashRun {
        var run = CrashRun()
        run.options.seed = seed
        run.options.limit = max(4, perOperation * 512 / max(512, shape.image.sectors))
        run.continuedEvery = continuedEvery
        return run
    }

    private func counting(_ name: String, _ body: () throws -> CrashFigures) -> CrashFigures {
        do {
            return try body()
        } catch {
            var figures = CrashFigures()
            figures.add(["\(error)"], name: name)
            return figures
        }
    }
}
