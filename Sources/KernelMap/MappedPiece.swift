import BlockImage
import Glibc

/// A part of a disk that is found in one way. It ends where the next one begins.
struct MappedPiece {
    /// Where the bytes are.
    enum Source: Equatable {
        /// They are zeros.
        case zeros
        /// The server has to read them: they are compressed, encrypted, lost, or in nothing that the kernel could read.
        case fallback
        /// In the file that has this number.
        case file(Int)
    }

    /// Where on the disk it begins.
    var start: UInt64
    var source: Source
    /// Where in the file it begins; the place on the disk where it is in none.
    var offset: UInt64
}

/// The pieces of a disk, gathered from its start to its end. Neighbours that are found in one way are one piece.
struct MappedPieces {
    /// The most pieces of a disk: what they take is freed when the map is made. 64 GiB of clusters of 64 KiB, each
    /// somewhere else.
    static let limit = 1 << 20
    /// The most files, each of which takes 128 bytes of the device table, and a name in the mount's options.
    static let fileLimit = 4096

    private(set) var pieces: [MappedPiece] = []
    /// The files that the pieces are in, by their numbers.
    private(set) var files: [any HostFile] = []
    /// What is known of a file that an image names.
    private struct Known {
        let file: any HostFile
        /// The number of the file that it is, or is a part of; nil: the kernel cannot read it.
        let number: Int?
        /// Where in that file it begins, and where that file ends.
        let start: UInt64
        let end: UInt64
    }

    private var known: [HostFileID: Known] = [:]
    /// That of the file that was asked for last.
    private var last: Known?

    /// Those of `image`.
    ///
    /// Throws `unsupported` where there are too many.
    init(of image: Image) throws(ImageError) {
        let budget = WalkBudget(hostSize: image.hostSize)
        var runs = DiskRuns(of: image, ignoresErrors: true, budget: budget)
        var position: UInt64 = 0
        while position < image.virtualSize {
            let run = try runs.run(at: position, limit: image.virtualSize - position)
            add(run)
            guard pieces.count <= Self.limit else {
                throw ImageError(.unsupported, about: .disk, "stored in more than \(Self.limit) runs")
            }
            position = run.end
        }
    }

    private mutating func add(_ run: DiskRun) {
        let start = run.start.rawValue
        guard run.error == nil else { return append(.fallback, at: start, offset: start) }
        switch run.extent.storage {
        case .zero, .unallocated: append(.zeros, at: start, offset: start)
        case .encoded: append(.fallback, at: start, offset: start)
        case .data(let file, let offset): addData(run, in: file, at: offset.rawValue)
        }
    }

    /// Adds what lies in `file` at `offset`. What is cut off at its end is for the server, which says that it is.
    private mutating func addData(_ run: DiskRun, in file: any HostFile, at offset: UInt64) {
        let start = run.start.rawValue
        let known = look(at: file)
        let (place, overflow) = known.start.addingReportingOverflow(offset)
        guard let number = known.number, !overflow, place < known.end else {
            return append(.fallback, at: start, offset: start)
        }
        let count = min(run.count, known.end - place)
        append(.file(number), at: start, offset: place)
        if count < run.count { append(.fallback, at: start + count, offset: start + count) }
    }

    private mutating func append(_ source: MappedPiece.Source, at start: UInt64, offset: UInt64) {
        if let last = pieces.last, last.source == source, offset &- last.offset == start &- last.start { return }
        pieces.append(MappedPiece(start: start, source: source, offset: offset))
    }

    private mutating func look(at file: any HostFile) -> Known {
        if let last, last.file === file { return last }
        let found = known[file.id] ?? add(file)
        known[file.id] = found
        last = found
        return found
    }

    /// Only regular files can be devices of a file system that is itself in a file.
    private mutating func add(_ file: any HostFile) -> Known {
        var (whole, start): (any HostFile, UInt64) = (file, 0)
        while let part = whole as? FileSlice {
            (whole, start) = (part.file, part.offset.advanced(by: start).rawValue)
        }
        var number = files.firstIndex { $0.id == whole.id }
        if number == nil, files.count < Self.fileLimit, let descriptor = whole.descriptor, isRegular(descriptor) {
            number = files.count
            files.append(whole)
        }
        return Known(file: file, number: number, start: start, end: whole.size)
    }
}

/// Whether `descriptor` is open on a regular file.
private func isRegular(_ descriptor: CInt) -> Bool {
    var status = stat()
    // Safe: fstat fills the structure that it is given.
    return unsafe fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}
