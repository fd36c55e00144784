import BlockImage
import ByteFormat

/// The second header at the end of a streamOptimized extent, which says what the first could not know yet: where the
/// grain directory lies. It takes the place of the first (Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse
/// Extents").
///
/// What the grains were written by (the size of a grain and of a grain table, the compression and the other
/// incompatible features) must be as in the first header, or it is no footer of this extent. The capacity may be
/// another: then the footer's holds.
struct StreamFooter {
    /// The header that it is.
    let header: SparseHeader
    /// Where its marker lies, one sector before it.
    let position: HostOffset

    /// How far before the end of the file it is looked for, where it is not at its place: archives and object stores
    /// fill files up with zeros.
    static let searchLimit: UInt64 = 64 << 10
    /// The bytes of the marker and of the header.
    static let size = 1024

    /// The footer that `bytes` are, found at `position` of the extent whose first header is `first`; nil where they
    /// are none.
    ///
    /// Throws where they are one, but with a feature that is not supported: as it takes the place of the first header,
    /// what that says no longer holds.
    init?(
        _ bytes: ArraySlice<UInt8>, at position: HostOffset, of first: SparseHeader
    ) throws(ParseFault) {
        guard bytes.count == Self.size,
            let marker = try? StreamMarker(parsing: Array(bytes.prefix(StreamMarker.size))),
            case .metadata(.footer, _) = marker.kind,
            let header = try? SparseHeader(parsing: Array(bytes.suffix(SparseHeader.size))),
            (try? header.checkGeometry()) != nil, header.capacity > 0, !header.hasDirectoryAtEnd,
            header.grainSize == first.grainSize, header.grainTableEntryCount == first.grainTableEntryCount,
            header.isCompressed == first.isCompressed
        else { return nil }
        if let feature = header.unsupportedFeature {
            throw ParseFault(
                at: Int(clamping: position.rawValue) + StreamFooter.size - SparseHeader.size + feature.position,
                "footer: \(feature.message)")
        }
        self.header = header
        self.position = position
    }

    /// The last footer of the extent whose first header is `first` that begins in the last sectors of `file`; nil where
    /// there is none. Throws what reading the file throws.
    static func find(for first: SparseHeader, in file: any HostFile) throws(ImageError) -> StreamFooter? {
        // Its place is the last but two sectors: the end-of-stream marker follows it. That takes one small read.
        for count in [3, searchLimit / sectorSize + 3] {
            let end = file.size / sectorSize
            let start = end - min(end, count)
            let bytes = try file.bytes(
                Int((end - start) * sectorSize), at: HostOffset(start * sectorSize), of: "stream footer")
            var position = bytes.count - size
            while position >= 0 {
                let offset = HostOffset(start * sectorSize + UInt64(position))
                do throws(ParseFault) {
                    let found = try StreamFooter(bytes[position..<position + size], at: offset, of: first)
                    if let found { return found }
                } catch {
                    throw file.unsupported(error)
                }
                position -= Int(sectorSize)
            }
        }
        return nil
    }

    /// What people should know of it: where it is not at its place, and where it says something else than the first
    /// header.
    func notes(first: SparseHeader, in file: any HostFile) -> [ErrorText] {
        var notes: [ErrorText] = []
        if position.rawValue + 3 * sectorSize != file.size {
            notes.append(
                "\(path: file.path): the footer of the stream is at \(position), and not in the last sectors of the file"
            )
        }
        if header.capacity != first.capacity {
            notes.append(
                "\(path: file.path): the header says \(first.capacity) sectors and the footer of the stream "
                    + "\(header.capacity), which holds")
        }
        return notes
    }
}
