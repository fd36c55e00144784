import BlockImage
import FormatCore

/// A format that only tests have: the disk in blocks of 4 KiB, from the last to the first, after a header of 4 KiB.
///
///     OFFSET SIZE FIELD
///          0    8 magic: "TOYDISK\n"
///          8    4 the blocks of the disk, little-endian
struct ToyDriver: FormatDriver {
    static let blockSize: UInt64 = 4096

    let name = "toy"
    let imageName: String? = "a toy image"
    let extensions = ["toy"]

    func recognizes(firstBytes bytes: [UInt8]) -> Bool { bytes.starts(with: "TOYDISK\n".utf8) }

    func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        let header = try file.bytes(12, at: HostOffset(0), of: "header")
        guard recognizes(firstBytes: header) else {
            throw ImageError(.corrupt, path: file.path, offset: HostOffset(0), "magic: must be \"TOYDISK\"")
        }
        let blocks = header[8...].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard file.size >= (blocks + 1) * Self.blockSize else {
            throw ImageError(
                .truncated, path: file.path, offset: HostOffset(8), "blocks: has \(blocks), past the end of the file")
        }
        return ToyImage(file: file, blocks: blocks)
    }
}

/// An image of it.
private struct ToyImage: FormatImage {
    let file: any HostFile
    let blocks: UInt64
    var layer: (any ImageLayer)?

    init(file: any HostFile, blocks: UInt64) {
        self.file = file
        self.blocks = blocks
    }

    mutating func makeReadable(with services: LayerServices) throws(ImageError) {
        layer = ToyLayer(file: file, blocks: blocks)
    }

    func add(to info: inout ImageInfo, listsAll: Bool) {
        info.virtualSize = blocks * ToyDriver.blockSize
        info.clusterSize = ToyDriver.blockSize
    }
}

/// Its disk.
private final class ToyLayer: ImageLayer {
    let virtualSize: UInt64
    private let file: any HostFile

    init(file: any HostFile, blocks: UInt64) {
        self.file = file
        virtualSize = blocks * ToyDriver.blockSize
    }

    var files: [any HostFile] { [file] }
    var hostSize: UInt64 { file.size }
    var granuleSize: UInt64 { ToyDriver.blockSize }

    func extent(at start: GuestOffset, limit: UInt64) throws(ImageError) -> Extent {
        let (size, position) = (ToyDriver.blockSize, start.rawValue)
        let block = HostOffset(virtualSize - position / size * size)
        return Extent(
            start: start, count: min(limit, size - position % size),
            storage: .data(file: file, offset: block.advanced(by: position % size)))
    }
}
