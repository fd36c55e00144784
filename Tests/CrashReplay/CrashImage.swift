import BlockImage
import HostTools
import QCOW2

/// An image in memory that is written to while it is recorded: sound, and with some of everything on its disk.
package struct CrashImage: Sendable {
    /// How it is made.
    package struct Shape: Sendable, CustomStringConvertible {
        /// The bytes of a cluster.
        package var clusterSize: UInt64 = 4096
        /// Whether clusters have subclusters.
        package var hasExtendedL2 = false
        /// The bits of a refcount.
        package var refcountBits: UInt32 = 16
        /// The sectors of the disk.
        package var sectors = 512
        /// How many sectors the image under it has; nil: there is none.
        package var backing: Int?
        /// Whether it is recorded how it comes to be: then nothing is stored in it before it is written to.
        package var isNew = false
        /// How its clusters are stored before it is written to, of which one is chosen for each.
        package var clusters: [Cluster] = Cluster.allCases

        /// Whether these come in turn, instead of by chance.
        package var isRegular = false

        /// Clusters of 4 KiB, no backing file, and all kinds of clusters.
        package init() {}

        /// As people choose it.
        package var description: String {
            "cluster_size=\(clusterSize) extended_l2=\(hasExtendedL2) refcount_bits=\(refcountBits) sectors=\(sectors) "
                + "backing=\(backing.map { "\($0)" } ?? "none") new=\(isNew) "
                + "clusters=\(clusters.map(\.rawValue).joined(separator: ","))"
        }
    }

    /// How a cluster is stored.
    package enum Cluster: String, CaseIterable, Sendable {
        case unallocated, zero, data, compressed
    }

    /// The file; empty where it is new.
    package let content: HostContent
    /// The image under it, and its file.
    package let backing: Image?
    package let backingContent: HostContent?
    /// What its sectors are marked with.
    package let run: UInt64
    private let shape: Shape
    private let new: NewQCOW2

    /// An image of this shape; `run` also chooses what is where.
    package init(_ shape: Shape, run: UInt64) throws {
        self.run = run
        self.shape = shape
        backingContent = shape.backing.map { Self.rawContent(sectors: $0, run: run) }
        backing = backingContent.map { Image(layer: RawLayer(file: ContentFile($0, path: "base.raw"))) }
        var new = NewQCOW2(size: UInt64(shape.sectors * GuestSector.size))
        new.clusterSize = shape.clusterSize
        new.hasExtendedL2 = shape.hasExtendedL2
        new.refcountBits = shape.refcountBits
        if backing != nil { new.backing = NewQCOW2.Backing(name: Array("base.raw".utf8), format: "raw") }
        self.new = new
        content = shape.isNew ? HostContent() : try Self.content(new, shape, run)
    }

    /// What the sectors of a raw disk are.
    private static func below(_ sectors: Int) -> [UInt64] { (0..<sectors).map { $0 / 13 % 3 == 0 ? 0 : 1 } }

    /// A raw disk: runs of zeros and of the first generation.
    package static func rawContent(sectors: Int, run: UInt64) -> HostContent {
        HostContent(GuestSector.bytes(from: 0, generations: below(sectors), run: run))
    }

    /// What a judge has to know; `opener` opens it for writing.
    package func subject(_ opener: DiskOpener?) -> QCOW2Judge.Subject {
        var subject = QCOW2Judge.Subject(run: run, backing: backing, opener: opener)
        let below = Self.below(min(shape.backing ?? 0, shape.sectors))
        subject.initial = shape.isNew ? below + Array(repeating: 0, count: shape.sectors - below.count) : nil
        return subject
    }

    private static func content(_ new: NewQCOW2, _ shape: Shape, _ run: UInt64) throws -> HostContent {
        var random = SeededRandom(seed: run)
        let file = NewMemoryFile()
        let writer = try QCOW2Writer(new, compressionLevel: 1, in: file)
        let count = Int(shape.clusterSize) / GuestSector.size
        for first in stride(from: 0, to: shape.sectors, by: count) {
            let chosen = shape.clusters.randomElement(using: &random) ?? .unallocated
            let kind = shape.isRegular ? shape.clusters[first / count % shape.clusters.count] : chosen
            try write(kind, first..<min(first + count, shape.sectors), count, run, with: writer)
        }
        try writer.finish()
        return file.content
    }

    private static func write(
        _ kind: Cluster, _ sectors: Range<Int>, _ count: Int, _ run: UInt64, with writer: QCOW2Writer
    ) throws {
        let start = GuestOffset(UInt64(sectors.lowerBound * GuestSector.size))
        let bytes = GuestSector.bytes(
            from: sectors.lowerBound, generations: Array(repeating: 2, count: sectors.count), run: run)
        switch kind {
        case .unallocated: break
        case .zero: try writer.writeZeros(UInt64(bytes.count), at: start)
        case .data: try bytes.withUnsafeBytes { try writer.write($0.bytes, at: start, stored: nil) }
        case .compressed:
            guard let encoder = writer.encoder else { return }
            let unit = bytes + Array(repeating: 0, count: count * GuestSector.size - bytes.count)
            let output = AlignedBuffer(capacity: encoder.encodedLimit)
            let isSmaller = try output.fill(encoder.encodedLimit) { output in
                try unit.withUnsafeBytes { try encoder.encode($0.bytes, into: &output) }
            }
            if isSmaller {
                try writer.write(encoded: output.bytes, at: start)
            } else {
                try bytes.withUnsafeBytes { try writer.write($0.bytes, at: start, stored: nil) }
            }
        }
    }

    /// Opens it with `opener`, has each of `clients` do so many random operations, closes it, and answers what was
    /// recorded. `from`: what a power cut left of it, where it is not as it was made.
    package func record(
        _ opener: DiskOpener, from left: HostContent? = nil, operations count: Int, clients: Int = 1, seed: UInt64
    ) throws -> Recording {
        let isNew = shape.isNew && left == nil
        let start = left ?? content
        let recorder = Recorder([start], isNamed: [!isNew])
        var file = RecordedFile(start, recorder: recorder)
        if isNew {
            try QCOW2Overlay.create(new, in: file)
            file.link()
            recorder.syncFolder()
            // It is opened as any other, with the size that it has by then.
            file = RecordedFile(file.content, recorder: recorder)
        }
        // Generations that no earlier write has.
        let disk = RecordedDisk(
            try opener(file, backing), recorder, sectorCount: shape.sectors, run: run,
            generation: left == nil ? 100 : 1 << 20)
        try disk.change(count, clients: clients, seed: seed)
        try disk.flush()
        try disk.close()
        return recorder.recording
    }
}

/// A new file in memory.
private final class NewMemoryFile: NewFile {
    let path = "memory.qcow2"
    private let state = Guarded(HostContent())

    var content: HostContent { state.withLock { $0 } }

    func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError) {
        let change = HostChange.write(bytes.withUnsafeBytes { [UInt8]($0) }, at: offset.rawValue)
        state.withLock { $0.apply(change) }
    }

    func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) throws(ImageError) {
        state.withLock { content in content.setSize(max(content.size, offset.rawValue + count)) }
    }

    func setSize(_ size: UInt64) throws(ImageError) {
        state.withLock { $0.setSize(size) }
    }
}
