import BlockImage
import QCOW2
import VMDK

/// A run of a disk, as far as it can be told without reading it.
struct StoredRun: Sendable {
    /// What there is.
    enum Content: Sendable {
        /// Zeros.
        case zeros
        /// What has to be read.
        case bytes(Extent.Storage, layer: any ImageLayer)
    }

    /// Where it begins on the disk.
    var start: UInt64
    /// How many bytes it has; at least one.
    var count: UInt64
    var content: Content
    /// Why it cannot be found, and is taken for zeros, where that is asked for.
    var error: ImageError?

    var isZeros: Bool {
        if case .zeros = content { true } else { false }
    }

    /// Where it ends.
    var end: UInt64 { start + count }

    /// What of it lies from `position` on, which it holds, in at most `limit` bytes.
    func part(from position: UInt64, limit: UInt64) -> StoredRun {
        var part = self
        part.start = position
        part.count = min(count - (position - start), limit)
        switch content {
        case .bytes(.data(let file, let offset), let layer):
            part.content = .bytes(.data(file: file, offset: offset.advanced(by: position - start)), layer: layer)
        case .bytes(.encoded(.encrypted, let file, let offset, let count), let layer):
            part.content = .bytes(
                .encoded(.encrypted, file: file, offset: offset.advanced(by: position - start), count: count),
                layer: layer)
        // Every part of a compressed cluster comes from the same bytes.
        case .bytes, .zeros: break
        }
        return part
    }

    /// Whether `other`, which begins at the same place of another disk, has the same bytes, as far as both go: they are
    /// the same bytes of the same file, stored in the same way.
    func isStored(as other: StoredRun) -> Bool {
        switch (content, other.content) {
        case (.zeros, .zeros): true
        case (.bytes(.data(let file, let offset), _), .bytes(.data(let otherFile, let otherOffset), _)):
            offset == otherOffset && file.isSame(as: otherFile)
        case (
            .bytes(.encoded(let encoding, let file, let offset, _), let layer),
            .bytes(.encoded(let otherEncoding, let otherFile, let otherOffset, _), let otherLayer)
        ):
            // Two layers of one image decode alike. An encrypted one has the same key where it has the same name.
            offset == otherOffset && encoding == otherEncoding && file.isSame(as: otherFile)
                && layer.isOfSameImage(as: otherLayer)
                && (encoding == .compressed || file.path.utf8.elementsEqual(otherFile.path.utf8))
        default: false
        }
    }
}

extension HostFile {
    /// Whether both are one file, whatever they were opened by.
    fileprivate func isSame(as other: any HostFile) -> Bool {
        id == other.id || (identity != nil && identity == other.identity)
    }
}

extension ImageLayer {
    /// Whether both are layers of one image, be it of different snapshots: they then decode the same bytes, at the same
    /// place of the disk, alike.
    fileprivate func isOfSameImage(as other: any ImageLayer) -> Bool {
        if self === other { return true }
        return switch (self, other) {
        case (let layer as QCOW2Layer, let other as QCOW2Layer): layer.files[0].isSame(as: other.files[0])
        case (let layer as VMDKLayer, let other as VMDKLayer): layer.files[0].isSame(as: other.files[0])
        default: false
        }
    }
}

/// The runs of a disk, found from its start to its end.
struct StoredRuns {
    private let image: Image
    /// Whether what cannot be found is taken for zeros.
    private let ignoresErrors: Bool
    /// What may be looked up and read; nil: all of it.
    private var budget: WalkBudget?
    private var lookUps = 1
    /// What was found last.
    private var found: StoredRun?
    /// What was found last of the holes of each file: one answer of the host often covers many clusters.
    private var stretches: [HostFileID: (bytes: Range<UInt64>, isHole: Bool)] = [:]

    /// The runs of `image`. `isBounded`: there are no more than its files can have, and what is stored is read once.
    init(_ image: Image, ignoresErrors: Bool = false, isBounded: Bool = false) {
        self.image = image
        self.ignoresErrors = ignoresErrors
        budget = isBounded ? WalkBudget(hostSize: image.hostSize) : nil
    }

    /// The run at `start`, of at most `limit` bytes; what lies behind the end of the disk is zeros. Holes of the host's
    /// files are not looked for.
    mutating func run(at start: UInt64, limit: UInt64) throws(ImageError) -> StoredRun {
        guard start < image.virtualSize else { return StoredRun(start: start, count: limit, content: .zeros) }
        if let found, found.start <= start, start < found.end { return found.part(from: start, limit: limit) }
        guard budget?.takeLookUps(lookUps) ?? true else { throw tooMany(upTo: start) }
        lookUps = image.layersAsked
        let resolution: Image.Resolution
        do throws(ImageError) {
            resolution = try image.resolve(at: GuestOffset(start), limit: image.virtualSize - start)
        } catch {
            guard ignoresErrors else { throw error }
            let count = image.lost(at: GuestOffset(start), limit: image.virtualSize - start)
            lookUps = WalkBudget.lookUps(in: 2 * image.layersAsked, of: image, for: count)
            let run = StoredRun(start: start, count: count, content: .zeros, error: error)
            found = run
            return run.part(from: start, limit: limit)
        }
        lookUps = WalkBudget.lookUps(
            in: resolution.depth + resolution.layer.layersAsked, of: image, for: resolution.extent.count)
        var run = StoredRun(start: start, count: resolution.extent.count, content: .zeros)
        switch resolution.extent.storage {
        case .zero, .unallocated: break
        case .data, .encoded: run.content = .bytes(resolution.extent.storage, layer: resolution.layer)
        }
        found = run
        return run.part(from: start, limit: limit)
    }

    /// That the disk, whose runs are bounded, goes on behind what was found.
    private func tooMany(upTo place: UInt64) -> ImageError {
        ImageError(
            .unsupported, path: "disk",
            "stored in more runs than its files can hold: looked at up to \(GuestOffset(place))")
    }

    /// Says that the `count` bytes at the beginning of `run` are to be read. Throws where more is, than the files hold.
    mutating func note(reading count: UInt64, of run: StoredRun) throws(ImageError) {
        guard case .bytes(let storage, _) = run.content, budget != nil else { return }
        let extent = Extent(start: GuestOffset(run.start), count: count, storage: storage)
        guard budget?.takeReading(extent) ?? true else { throw tooMany(upTo: run.start) }
    }

    /// What `run` begins with: zeros where its file has a hole, else what is no hole.
    mutating func withoutHole(_ run: StoredRun) -> StoredRun {
        guard case .bytes(.data(let file, let offset), _) = run.content else { return run }
        let (isHole, count) = stretch(of: file, at: offset.rawValue, limit: run.count)
        var run = run.part(from: run.start, limit: count)
        if isHole { run.content = .zeros }
        return run
    }

    private mutating func stretch(
        of file: any HostFile, at offset: UInt64, limit: UInt64
    ) -> (isHole: Bool, count: UInt64) {
        if let known = stretches[file.id], known.bytes.contains(offset) {
            return (known.isHole, min(limit, known.bytes.upperBound - offset))
        }
        // To the end of the file, so that the answer serves the clusters behind this one as well.
        let stretch = file.run(at: HostOffset(offset), limit: max(limit, file.size - min(offset, file.size)))
        let count = max(1, stretch.count)
        stretches[file.id] = (offset..<HostOffset(offset).advanced(by: count).rawValue, stretch.isHole)
        return (stretch.isHole, min(limit, count))
    }
}
