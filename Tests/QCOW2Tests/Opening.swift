import BlockImage
import TestImages

@testable import QCOW2

/// The layer of the image in `file`, over `backing` if there is one.
func openQCOW2(
    _ file: any HostFile, backing: Image? = nil, resources: LayerResources = LayerResources()
) throws(ImageError) -> Image {
    let layer = try QCOW2Layer(try QCOW2Description(file), file: file, resources: resources)
    return Image(layer: layer, backing: backing)
}

/// The error that opening the image, or reading the whole of it, ends with.
func failure(of bytes: [UInt8]) -> ImageError? {
    do {
        _ = try openQCOW2(MemoryFile(bytes)).wholeDisk()
        return nil
    } catch {
        return error
    }
}
