import BlockImage
import Dispatch
import HostTools
import Synchronization

/// A disk that can be written, as tests see it.
package protocol WritableDisk: Sendable {
    /// Writes whole sectors from the byte `offset` on.
    func write(_ bytes: [UInt8], at offset: UInt64) throws
    /// Has `count` bytes read as zeros.
    func writeZeros(_ count: UInt64, at offset: UInt64) throws
    /// The sectors of a cluster.
    var clusterSectors: Int { get }
    /// Has `count` bytes hold nothing: those that fill clusters read as zeros then, the others so or as before.
    func discard(_ count: UInt64, at offset: UInt64) throws
    /// Puts everything that was written on stable storage.
    func flush() throws
    /// Has the file hold what is in memory only, which puts nothing on stable storage.
    func writeBack() throws
    /// Flushes, and leaves the file as one that was closed.
    func close() throws
}

/// Opens the image in a file, over another, for writing.
package typealias DiskOpener = @Sendable (any WritableFile, Image?) throws -> any WritableDisk

/// A disk of which it is recorded what its clients ask for, and whose sectors describe themselves. Every method may be
/// called from any thread.
package final class RecordedDisk: Sendable {
    private let disk: any WritableDisk
    private let recorder: Recorder
    private let sectorCount: Int
    private let run: UInt64
    private let generation: Atomic<UInt64>

    /// `disk` of so many sectors; what is written to it has generations after `generation`.
    package init(
        _ disk: any WritableDisk, _ recorder: Recorder, sectorCount: Int, run: UInt64, generation: UInt64
    ) {
        self.disk = disk
        self.recorder = recorder
        self.sectorCount = sectorCount
        self.run = run
        self.generation = Atomic(generation)
    }

    /// Writes the sectors with a new generation.
    package func write(_ sectors: Range<Int>) throws {
        let generation = generation.add(1, ordering: .relaxed).newValue
        let generations = Array(repeating: generation, count: sectors.count)
        try record(.write(generations), sectors) {
            try disk.write(
                GuestSector.bytes(from: sectors.lowerBound, generations: generations, run: run),
                at: UInt64(sectors.lowerBound * GuestSector.size))
        }
    }

    /// Has the sectors read as zeros.
    package func zero(_ sectors: Range<Int>) throws {
        try record(.zero(mayKeep: false), sectors) {
            try disk.writeZeros(
                UInt64(sectors.count * GuestSector.size), at: UInt64(sectors.lowerBound * GuestSector.size))
        }
    }

    /// Discards the sectors.
    package func discard(_ sectors: Range<Int>) throws {
        let unit = disk.clusterSectors
        let first = min((sectors.lowerBound + unit - 1) / unit * unit, sectors.upperBound)
        let end = max(first, sectors.upperBound / unit * unit)
        let requests = [
            recorder.issue(.zero(mayKeep: true), sectors.lowerBound..<first),
            recorder.issue(.zero(mayKeep: false), first..<end),
            recorder.issue(.zero(mayKeep: true), end..<sectors.upperBound),
        ]
        try disk.discard(UInt64(sectors.count * GuestSector.size), at: UInt64(sectors.lowerBound * GuestSector.size))
        for request in requests { recorder.acknowledge(request) }
    }

    /// Flushes.
    package func flush() throws {
        try record(.flush, 0..<0) { try disk.flush() }
    }

    /// Flushes and closes the image.
    package func close() throws {
        try record(.flush, 0..<0) { try disk.close() }
    }

    private func record(_ kind: ClientRequest.Kind, _ sectors: Range<Int>, _ body: () throws -> Void) throws {
        let request = recorder.issue(kind, sectors)
        try body()
        recorder.acknowledge(request)
    }

    /// Does `count` random operations, of which some are flushes.
    package func change(_ count: Int, using random: inout SeededRandom) throws {
        for _ in 0..<count {
            // From a sector to many clusters, mostly few; at a few places, so that they meet.
            let length = 1 << Int.random(in: 0...7, using: &random)
            let first = Int.random(in: 0..<sectorCount, using: &random) / length * length
            let extra = Int.random(in: 0..<3, using: &random) == 0 ? Int.random(in: 0...5, using: &random) : 0
            let start = min(first + extra, sectorCount - 1)
            let sectors = start..<min(start + length, sectorCount)
            switch Int.random(in: 0..<20, using: &random) {
            case 0...3: try zero(sectors)
            case 4, 5: try discard(sectors)
            case 6...8: try flush()
            case 9: try disk.writeBack()
            default: try write(sectors)
            }
        }
    }

    /// Has so many clients do `count` random operations each, all at the same time.
    package func change(_ count: Int, clients: Int, seed: UInt64) throws {
        let failure = Guarded<(any Error)?>(nil)
        DispatchQueue.concurrentPerform(iterations: clients) { client in
            var random = SeededRandom(seed: seed &+ UInt64(client) &* 0x1000_0000)
            do { try change(count, using: &random) } catch { failure.withLock { $0 = error } }
        }
        if let error = failure.withLock({ $0 }) { throw error }
    }
}
