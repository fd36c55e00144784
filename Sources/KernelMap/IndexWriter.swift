import BlockImage

/// Writes the entries of all chunks of a disk, in their order.
struct IndexWriter {
    private let pieces: [MappedPiece]
    private let fileSizes: [UInt64]
    private let size: UInt64
    private let layout: ChunkLayout
    private(set) var entries: [UInt64] = []
    private(set) var directSize: UInt64 = 0
    private(set) var zeroSize: UInt64 = 0
    private(set) var fallbackSize: UInt64 = 0

    init(_ found: MappedPieces, size: UInt64, layout: ChunkLayout) {
        pieces = found.pieces
        fileSizes = found.files.map(\.size)
        self.size = size
        self.layout = layout
    }

    mutating func writeAll() {
        let chunkSize = UInt64(1) << UInt64(layout.chunkBits)
        entries.reserveCapacity(Int((size - 1) / chunkSize) + 1)
        var number = 0
        var start: UInt64 = 0
        while start < size {
            while number + 1 < pieces.count, pieces[number + 1].start <= start { number += 1 }
            let pieceEnd = number + 1 < pieces.count ? pieces[number + 1].start : size
            var end = min(start + chunkSize, size)
            if end <= pieceEnd {
                // All whole chunks of the piece in one go.
                repeat {
                    write(pieces[number], start: start, end: end)
                    start = end
                    end = min(start + chunkSize, size)
                } while start < end && end <= pieceEnd
            } else {
                writeFallback(start: start, end: end)
                start = end
            }
        }
    }

    private mutating func write(_ piece: MappedPiece, start: UInt64, end: UInt64) {
        switch piece.source {
        case .zeros:
            entries.append(ErofsImage.zeros)
            zeroSize += end - start
        case .fallback: writeFallback(start: start, end: end)
        case .file(let number):
            let offset = piece.offset + (start - piece.start)
            let block = offset >> UInt64(layout.blockBits)
            // The kernel reads whole blocks, and gets an error where the file ends in one.
            let fileEnd = offset + layout.wholeBlocks(end - start)
            guard layout.wholeBlocks(offset) == offset, fileEnd <= fileSizes[number],
                fileEnd >> UInt64(layout.blockBits) < ExtentMap.blockLimit
            else { return writeFallback(start: start, end: end) }
            entries.append(ErofsImage.entry(device: number + 1, block: block))
            directSize += end - start
        }
    }

    private mutating func writeFallback(start: UInt64, end: UInt64) {
        entries.append(ErofsImage.entry(device: fileSizes.count + 1, block: start >> UInt64(layout.blockBits)))
        fallbackSize += end - start
    }
}
