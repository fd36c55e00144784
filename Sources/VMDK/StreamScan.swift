import BlockImage
import ByteFormat

/// A walk over a streamOptimized extent, from marker to marker, to find its footer or else its grains: for a stream
/// that was cut, or whose end was damaged. It costs a small read for each marker.
struct StreamScan {
    /// What the walk came to.
    enum Outcome {
        /// A footer whose grain directory can be read.
        case footer(StreamFooter)
        /// The end of the stream: nothing of it is missing but the way to its grains.
        case complete
        /// A place at which the stream breaks off, and how: it "ends" or "is damaged".
        case broken(at: HostOffset, manner: String)
    }

    /// The most markers that are looked at: those of nearly 1 TiB in grains of 64 KiB. The grains that they stand for
    /// take 8 bytes each, 128 MiB.
    static let markerLimit = 1 << 24

    private let file: any HostFile
    private let header: SparseHeader
    /// Whether the grain directory that a footer leads to can be read.
    private let isUsable: (SparseHeader) -> Bool
    /// The sector of the file at which the walk is.
    private var sector: UInt64
    /// Whether the marker of the grain directory was met, which all grains come before.
    private var hasDirectory = false
    /// The grains that lie in the file as a whole, in the order in which they do.
    private(set) var grains: [RecoveredGrain] = []

    /// A walk over `file`, whose checked header is `header`.
    init(_ file: any HostFile, header: SparseHeader, isUsable: @escaping (SparseHeader) -> Bool) {
        self.file = file
        self.header = header
        self.isUsable = isUsable
        // The header itself is no marker. The overhead was found to lie in the file.
        sector = max(header.overhead, 1)
    }

    /// Walks to the end. Throws `unsupported` where there are too many markers, and what reading the file throws.
    mutating func run(markerLimit: Int = StreamScan.markerLimit) throws(ImageError) -> Outcome {
        for _ in 0..<markerLimit {
            let position = HostOffset(sector * sectorSize)
            guard position.rawValue < file.size, file.size - position.rawValue >= UInt64(StreamMarker.size) else {
                return broken("ends", at: HostOffset(file.size))
            }
            let bytes = try file.bytes(StreamMarker.size, at: position, of: "stream marker")
            let marker: StreamMarker
            do throws(ParseFault) { marker = try StreamMarker(parsing: bytes) } catch { throw file.corrupt(error) }
            let outcome: Outcome? =
                switch marker.kind {
                case .grain(let lba, let size): pass(lba: lba, size: size, at: position)
                case .metadata(let metadata, let sectors): try pass(metadata, sectors: sectors, at: position)
                case nil: broken("is damaged", at: position)
                }
            if let outcome { return outcome }
        }
        throw ImageError(
            .unsupported, path: file.path, offset: HostOffset(sector * sectorSize),
            "stream: has no footer, and more than \(markerLimit) markers, which is not supported")
    }

    /// Keeps a grain, and goes on after it.
    private mutating func pass(lba: UInt64, size: UInt32, at position: HostOffset) -> Outcome? {
        let grainBytes = header.grainSize * sectorSize
        guard lba < header.capacity, lba % header.grainSize == 0, UInt64(size) <= 2 * grainBytes,
            let index = UInt32(exactly: lba / header.grainSize), let place = UInt32(exactly: sector)
        else { return broken("is damaged", at: position) }
        let end = position.rawValue + UInt64(StreamMarker.grainHeaderSize) + UInt64(size)
        guard end <= file.size else { return broken("ends", at: HostOffset(file.size)) }
        grains.append(RecoveredGrain(index: index, sector: place))
        sector = (end + sectorSize - 1) / sectorSize
        return nil
    }

    /// Goes on after a piece of metadata.
    private mutating func pass(
        _ metadata: StreamMarker.Metadata, sectors: UInt64, at position: HostOffset
    ) throws(ImageError) -> Outcome? {
        switch metadata {
        case .endOfStream:
            // Where the directory is to come at the end, and did not come, these are zeros in the place of a stream:
            // a file that was made large before it was received.
            guard sectors == 0, hasDirectory || !header.hasDirectoryAtEnd else {
                return broken("is damaged", at: position)
            }
            return .complete
        case .footer:
            if file.size - position.rawValue >= UInt64(StreamFooter.size) {
                let bytes = try file.bytes(StreamFooter.size, at: position, of: "stream footer")
                let footer: StreamFooter?
                do throws(ParseFault) {
                    footer = try StreamFooter(bytes[...], at: position, of: header)
                } catch {
                    throw file.unsupported(error)
                }
                if let footer, isUsable(footer.header) { return .footer(footer) }
            }
        case .grainDirectory: hasDirectory = true
        case .grainTable, .progress: break
        }
        guard sectors <= file.sectorCount else { return broken("is damaged", at: position) }
        // Both are at most 2^54; not so far that a place there would not fit into 64 bits.
        sector = min(sector + 1 + sectors, file.sectorCount + 1)
        return nil
    }

    /// What a place is at which the walk cannot go on. Behind the grain directory no grain is lost.
    private func broken(_ manner: String, at offset: HostOffset) -> Outcome {
        hasDirectory ? .complete : .broken(at: offset, manner: manner)
    }
}
