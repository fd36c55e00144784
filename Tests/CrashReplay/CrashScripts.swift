import BlockImage
import Dispatch
import HostTools
import QCOW2

/// Random scripts of writes, zeros, discards and flushes to images of many shapes, each with what a power cut leaves of it.
package struct CrashScripts: Sendable {
    /// What scripts do.
    package enum Kind: String, CaseIterable, Sendable {
        /// They write to an image by the write core.
        case core
        /// They have an overlay made, by a process that is traced.
        case creation
        /// They commit an overlay, by the real program.
        case commit
    }

    /// What they do, in turn.
    package var kinds: [Kind] = [.core]
    /// The seed of the first script; the next ones follow.
    package var seed: UInt64 = 1
    /// The most scripts.
    package var scripts = Int.max
    /// How many distinct states are enough; nil: as many as there are.
    package var states: Int?
    /// When no script is begun any more; nil: never.
    package var deadline: ContinuousClock.Instant?
    /// How many scripts run at once.
    package var threads = 2
    /// How many operations each has.
    package var operations = 16
    /// The most states after each operation of the host.
    package var perOperation = 16
    /// Writing goes on from every state whose number is a multiple of this.
    package var continuedEvery = 8

    /// How many clients make requests at the same time, each its part of the operations. With more than one, a seed does
    /// not give the same states again.
    package var clients = 1
    /// Opens images for writing: the write core, unless a test wants something else.
    package var opener: DiskOpener = { try CoreDisk($0, below: $1) }

    /// Scripts from seed 1 on.
    package init() {}

    /// What came of one script, which is that of `seed`.
    package func look(atScript seed: UInt64) -> CrashFigures {
        let shape = CrashImage.Shape(seed: seed)
        let name = "seed \(seed) (\(shape)): "
        do {
            let image = try CrashImage(shape, run: seed)
            let recording = try image.record(opener, operations: operations / clients, clients: clients, seed: seed)
            let judge = try QCOW2Judge(recording, image.subject(opener))
            var run = CrashRun()
            run.options.seed = seed
            // Fewer where each takes longer.
            run.options.limit = max(4, perOperation * 512 / max(512, shape.sectors))
            run.continuedEvery = continuedEvery
            var random = SeededRandom(seed: seed)
            var chosen: HostContent?
            var sound = 0
            var figures = run.look(at: recording, judge, name: name) { state, complaints in
                guard complaints.isEmpty, state.isNamed[0] else { return }
                sound += 1
                if Int.random(in: 0..<sound, using: &random) == 0 { chosen = state.files[0] }
            }
            figures.add(try judge.complaints(afterClosing: recording.result(of: 0)), name: name)
            // The next power cut, after one of these.
            if let chosen {
                let again = try image.record(
                    opener, from: chosen, operations: operations / clients, clients: clients, seed: ~seed)
                run.options.limit = max(2, run.options.limit / 4)
                let judge = try QCOW2Judge(again, .init(run: seed, backing: image.backing, opener: opener))
                figures += run.look(at: again, judge, name: "\(name)second power cut: ")
            }
            return figures
        } catch {
            var figures = CrashFigures()
            figures.add(["\(error)"], name: name)
            return figures
        }
    }

    /// What came of one script of this kind, which is that of `seed`.
    package func look(atScript seed: UInt64, _ kind: Kind) -> CrashFigures {
        switch kind {
        case .core: look(atScript: seed)
        case .creation: lookAtCreation(seed)
        case .commit: lookAtCommit(seed)
        }
    }

    /// Runs scripts until there is enough; `progress` gets what there is up to then after each of them.
    package func run(_ progress: @Sendable ([Kind: CrashFigures]) -> Void = { _ in }) -> [Kind: CrashFigures] {
        struct Work {
            var begun = 0
            var figures: [Kind: CrashFigures] = [:]
        }
        let work = Guarded(Work())
        DispatchQueue.concurrentPerform(iterations: threads) { _ in
            while true {
                let number: Int? = work.withLock { work in
                    let isEnough =
                        work.begun >= scripts || states.map { work.figures.total.distinct >= $0 } ?? false
                    guard !isEnough, deadline.map({ .now < $0 }) ?? true else { return nil }
                    work.begun += 1
                    return work.begun - 1
                }
                guard let number else { return }
                let kind = kinds[number % kinds.count]
                let figures = look(atScript: seed &+ UInt64(number), kind)
                let all = work.withLock { work in
                    work.figures[kind, default: CrashFigures()] += figures
                    return work.figures
                }
                progress(all)
            }
        }
        return work.withLock { $0.figures }
    }
}

extension [CrashScripts.Kind: CrashFigures] {
    /// Those of all kinds.
    package var total: CrashFigures { values.reduce(into: CrashFigures()) { $0 += $1 } }
}

extension CrashImage.Shape {
    /// One of many, chosen by `seed`: every size of clusters and width of refcounts, with and without subclusters and a
    /// backing file that is shorter or longer than the disk.
    package init(seed: UInt64) {
        self.init()
        var random = SeededRandom(seed: seed ^ 0xc0ff_ee00)
        let common = [9, 9, 10, 11, 12, 12, 12, 13, 14, 15, 16, 16, 16].randomElement(using: &random) ?? 12
        let bits = Int.random(in: 0..<12, using: &random) == 0 ? Int.random(in: 17...21, using: &random) : common
        clusterSize = 1 << UInt64(bits)
        hasExtendedL2 = bits >= 14 && Bool.random(using: &random)
        refcountBits = [1, 2, 4, 8, 16, 16, 16, 32, 64].randomElement(using: &random) ?? 16
        // At least some clusters, and some L2 tables where these are small.
        sectors = max(160, (3 << bits) / GuestSector.size) + Int.random(in: 0...12, using: &random) * 8
        if Bool.random(using: &random) { sectors += Int.random(in: 1...7, using: &random) }
        if Bool.random(using: &random) { backing = sectors + Int.random(in: -100...60, using: &random) }
        clusters = CrashImage.Cluster.allCases.filter { _ in Bool.random(using: &random) }
        isNew = Int.random(in: 0..<6, using: &random) == 0
        if Int.random(in: 0..<32, using: &random) == 0 {
            // Nearly the 4,096 clusters that one cluster of the refcount table counts then: it has to grow.
            (clusterSize, refcountBits, sectors, backing, hasExtendedL2) = (512, 64, Self.manySectors, nil, false)
            (isNew, isRegular) = (false, true)
            clusters = Array(repeating: .data, count: 9) + [.unallocated]
        }
    }

    /// The sectors of a disk nine tenths of which, and their tables, take so many clusters.
    package static let manySectors = 4390
}

/// A disk of the write core.
package struct CoreDisk: WritableDisk {
    private static let resources = LayerResources(cacheSize: 3 << 20)
    private let layer: WritableQCOW2

    /// The disk of the image in `file` over `below`.
    package init(_ file: any WritableFile, below: Image?) throws {
        layer = try WritableQCOW2(QCOW2Description(file), file: file, below: below, resources: Self.resources)
    }

    package func write(_ bytes: [UInt8], at offset: UInt64) throws {
        try bytes.withUnsafeBytes { try layer.write($0.bytes, at: GuestOffset(offset)) }
    }

    package func writeZeros(_ count: UInt64, at offset: UInt64) throws {
        // Both kinds, by what the request is.
        try layer.zero(count, at: GuestOffset(offset), mayUnmap: offset / 512 % 2 == 0)
    }

    package var clusterSectors: Int { Int(layer.granuleSize) / GuestSector.size }

    package func discard(_ count: UInt64, at offset: UInt64) throws {
        try layer.discard(count, at: GuestOffset(offset))
    }

    package func flush() throws { try layer.flush() }

    package func writeBack() throws { try layer.writeBack() }

    package func close() throws { try layer.close() }
}
