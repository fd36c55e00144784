import BlockImage

/// How much space a new image of a disk would take, found by making it without a place: the format's own writer writes to
/// files that keep nothing but the count, so that what is measured is what `DiskCopy` would make.
///
/// Nothing of the disk is read but where it is stored. What is stored and yet holds zeros, which a copy leaves out, is
/// counted: so the size is the most that a copy takes.
package struct DiskMeasure {
    /// How much host space an image takes.
    package struct Size: Hashable, Sendable {
        /// The sizes of its files together.
        package var files: UInt64 = 0
        /// What of them is stored, in blocks of 4 KiB: what they take where files have holes.
        package var stored: UInt64 = 0
    }

    /// Makes the image to be measured in the files it is given.
    private let writer: (any NewFiles) throws -> any ImageWriter
    private let diskSize: UInt64

    /// What is written at a time, as far as the disk goes.
    private static let piece = 1 << 20

    /// Measures what `writer` makes, of a disk of `diskSize` bytes.
    package init(
        diskSize: UInt64, writer: @escaping (any NewFiles) throws -> any ImageWriter
    ) {
        self.diskSize = diskSize
        self.writer = writer
    }

    /// The size with what is stored of `image`; nil: with nothing. `progress` hears up to which byte of the disk that is
    /// known.
    ///
    /// Throws what damaged metadata and making a writer throw.
    package func required(for image: Image?, progress: (UInt64) throws -> Void = { _ in }) throws -> Size {
        let files = CountedFiles()
        let writer = try writer(files)
        var target = MeasuredPieces(writer, diskSize: diskSize)
        if let image {
            var runs = DiskRuns(of: image)
            var position: UInt64 = 0
            while position < image.virtualSize {
                let run = runs.splitAtHoles(try runs.run(at: position, limit: image.virtualSize - position))
                if !run.isZeros { try target.add(position..<run.end) }
                position = run.end
                try progress(position)
            }
        }
        try target.finish()
        return files.size
    }

    /// The size where every byte of the disk is stored.
    package func fullyAllocated() throws -> Size {
        let files = CountedFiles()
        var target = MeasuredPieces(try writer(files), diskSize: diskSize)
        try target.add(0..<diskSize)
        try target.finish()
        return files.size
    }

    /// What a copy hands to the writer: whole granules that hold data, in order.
    private struct MeasuredPieces {
        private let writer: any ImageWriter
        private let granularity: UInt64
        private let diskSize: UInt64
        private let bytes: [UInt8]
        /// Found, and not written yet.
        private var pending: Range<UInt64> = 0..<0

        init(_ writer: any ImageWriter, diskSize: UInt64) {
            self.writer = writer
            self.diskSize = diskSize
            granularity = UInt64(writer.granularity)
            bytes = [UInt8](repeating: 0, count: max(DiskMeasure.piece, writer.granularity))
        }

        mutating func add(_ range: Range<UInt64>) throws(ImageError) {
            let start = range.lowerBound / granularity * granularity
            let (end, overflow) = range.upperBound.addingReportingOverflow(granularity - 1)
            let bound = overflow ? diskSize : min(diskSize, end / granularity * granularity)
            if start <= pending.upperBound, !pending.isEmpty {
                pending = pending.lowerBound..<max(bound, pending.upperBound)
            } else {
                try write()
                pending = start..<bound
            }
        }

        mutating func finish() throws(ImageError) {
            try write()
            try writer.finish()
        }

        private mutating func write() throws(ImageError) {
            for start in stride(from: pending.lowerBound, to: pending.upperBound, by: bytes.count) {
                let count = Int(min(UInt64(bytes.count), pending.upperBound - start))
                // Safe: integers have no bytes that are not set.
                unsafe try writer.write(bytes.span.bytes.extracting(first: count), at: GuestOffset(start), stored: nil)
            }
            pending = 0..<0
        }
    }
}

/// Files of a new image that are nowhere: what is written to them is counted.
private final class CountedFiles: NewFiles {
    private var files: [CountedFile] = []

    var size: DiskMeasure.Size {
        files.reduce(into: DiskMeasure.Size()) {
            $0.files += $1.size.files
            $0.stored += $1.size.stored
        }
    }

    func file(named name: String) -> any NewFile {
        let file = CountedFile(name)
        files.append(file)
        return file
    }
}

private final class CountedFile: NewFile {
    private static let blockSize: UInt64 = 4096

    private struct Counts {
        var size: UInt64 = 0
        var blocks: UInt64 = 0
        /// Behind the last block that was written.
        var nextBlock: UInt64 = 0
    }

    let path: String
    private let counts = Guarded(Counts())

    init(_ name: String) {
        path = name
    }

    var size: DiskMeasure.Size {
        counts.withLock { counts in
            // What is written twice, as headers are, makes a file no longer than it is.
            let most = (counts.size + Self.blockSize - 1) / Self.blockSize
            return DiskMeasure.Size(files: counts.size, stored: min(counts.blocks, most) * Self.blockSize)
        }
    }

    func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) {
        count(UInt64(bytes.byteCount), at: offset)
    }

    func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) {
        self.count(count, at: offset)
    }

    func setSize(_ size: UInt64) {
        counts.withLock { $0.size = size }
    }

    private func count(_ count: UInt64, at offset: HostOffset) {
        // Offsets of files that writers make are below 2^63.
        let (start, end) = (offset.rawValue, offset.rawValue + count)
        let (first, next) = (start / Self.blockSize, (end + Self.blockSize - 1) / Self.blockSize)
        counts.withLock { counts in
            counts.size = max(counts.size, end)
            counts.blocks += next - (first + 1 == counts.nextBlock ? min(counts.nextBlock, next) : first)
            counts.nextBlock = next
        }
    }
}
