import BlockImage
import CrashReplay
import Synchronization
import Testing

/// The write core of QCOW2, by random scripts of requests to images of many shapes, some of which come to be meanwhile.
struct `A power cut while a QCOW2 image is written to` {
    /// The quick set: `make crash` looks at more.
    @Test func `leaves what was flushed, and an image that can be written to`() {
        var scripts = CrashScripts()
        scripts.states = 100_000
        let figures = scripts.run().total
        #expect(figures.violations == 0, "\(figures.examples.joined(separator: "\n"))")
        #expect(figures.distinct >= 100_000 && figures.continued > 10_000, "\(figures)")
    }

    /// What happens seldom is among the scripts: the header names another refcount table, by one write.
    @Test func `is tried while the refcount table grows`() throws {
        var moves: [Int] = []
        for seed in 1...150 as ClosedRange<UInt64> {
            let shape = CrashImage.Shape(seed: seed)
            guard shape.sectors == CrashImage.Shape.manySectors else { continue }
            let image = try CrashImage(shape, run: seed)
            let recording = try image.record({ try CoreDisk($0, below: $1) }, operations: 16, seed: seed)
            moves.append(
                recording.operations.count { operation in
                    if case .change(.write(let bytes, at: 48), _) = operation { bytes.count == 12 } else { false }
                })
        }
        #expect(moves.contains(1), "\(moves)")
    }

    /// A seed does not repeat these, as threads meet differently each time; the figures say with which it began.
    @Test func `leaves the same when several clients write at once`() {
        var scripts = CrashScripts()
        scripts.seed = 700_000
        (scripts.scripts, scripts.clients, scripts.operations) = (20, 3, 24)
        let figures = scripts.run().total
        #expect(figures.violations == 0, "\(figures.examples.joined(separator: "\n"))")
        #expect(figures.recordings == 40 && figures.distinct > 2000, "\(figures)")
    }

    /// The scripts are such that each barrier of the core is needed: without one of two, something is wrong somewhere.
    @Test(arguments: [0, 1]) func `is seen to need every barrier`(forgotten: Int) {
        var scripts = CrashScripts()
        (scripts.scripts, scripts.perOperation, scripts.continuedEvery) = (16, 8, 0)
        scripts.opener = { try CoreDisk(ForgetfulFile($0, forgotten: forgotten), below: $1) }
        let figures = scripts.run().total
        #expect(figures.violations > 0, "\(figures)")
    }
}

/// A file of which every second sync does nothing.
private final class ForgetfulFile: WritableFile {
    private let file: any WritableFile
    private let forgotten: Int
    private let syncs = Atomic<Int>(0)

    init(_ file: any WritableFile, forgotten: Int) {
        self.file = file
        self.forgotten = forgotten
    }

    var id: HostFileID { file.id }
    var path: String { file.path }
    var size: UInt64 { file.size }
    var currentSize: UInt64 { file.currentSize }
    var allocatedSize: UInt64 { file.allocatedSize }
    var identity: FileIdentity? { file.identity }
    var modified: FileTime { file.modified }
    var isCurrent: Bool { file.isCurrent }
    var descriptor: CInt? { file.descriptor }

    func read(_ count: Int, at offset: HostOffset, into output: inout OutputRawSpan) throws(ImageError) {
        try file.read(count, at: offset, into: &output)
    }

    func run(at offset: HostOffset, limit: UInt64) -> (isHole: Bool, count: UInt64) {
        file.run(at: offset, limit: limit)
    }

    func write(_ bytes: RawSpan, at offset: HostOffset) throws(ImageError) {
        try file.write(bytes, at: offset)
    }

    func zero(_ count: UInt64, at offset: HostOffset, keepingSpace: Bool) throws(ImageError) {
        try file.zero(count, at: offset, keepingSpace: keepingSpace)
    }

    func setSize(_ size: UInt64) throws(ImageError) { try file.setSize(size) }

    func sync() throws(ImageError) {
        if syncs.add(1, ordering: .relaxed).oldValue % 2 != forgotten { try file.sync() }
    }
}
