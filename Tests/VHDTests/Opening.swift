import BlockImage
import Encryption
import FormatCore
import TestImages

@testable import VHD

/// Opens nothing.
struct NoFiles: OpenPolicy {
    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(.denied, path: file.path, "\(reference.text) is not opened")
    }
}

/// The image of `bytes`, made ready to read.
func describeVHD(_ bytes: [UInt8], holes: [Range<UInt64>] = []) throws(ImageError) -> VHDImage {
    let file = MemoryFile(bytes, path: "memory.vhd", holes: holes)
    guard var image = try VHDDriver().describe(file) as? VHDImage else { preconditionFailure("no VHD") }
    let services = LayerServices(
        policy: NoFiles(), keys: ImageKeys([:]), resources: LayerResources(cacheSize: 1 << 20), above: [],
        isSearching: false)
    try image.makeReadable(with: services)
    return image
}

/// The disk of `bytes`, over `backing` if there is one.
func openVHD(_ bytes: [UInt8], over backing: Image? = nil) throws(ImageError) -> Image {
    guard let layer = try describeVHD(bytes).layer else { preconditionFailure("no layer") }
    return Image(layer: layer, backing: backing)
}

/// The error that opening the image, or reading the whole of it, ends with.
func failure(of bytes: [UInt8]) -> ImageError? {
    imageError { _ = try openVHD(bytes).wholeDisk() }
}

extension VHDBuilder {
    /// A block all of whose sectors were written.
    static func full(_ byte: UInt8, size: Int = 4096) -> Block {
        Block(written: [Bool](repeating: true, count: size / 512), bytes: [UInt8](repeating: byte, count: size))
    }

    /// Three blocks and a sector, of which the first, and the third in part, are stored.
    static var small: VHDBuilder {
        var builder = VHDBuilder(size: 3 * 4096 + 512)
        builder.blocks[0] = full(7)
        builder.blocks[2] = Block(
            written: [true, true, false, false, false, true, true, true], bytes: [UInt8](repeating: 9, count: 4096))
        return builder
    }
}
