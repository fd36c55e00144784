import BlockImage
import FormatCore
import ImageFormats
import ImageTools
import Reports
import TestImages

extension ClusterImageBuilder.Format {
    /// The format as the program has it.
    var imageFormat: ImageFormat {
        let name =
            switch self {
            case .qcow1: "qcow"
            case .qed: "qed"
            case .parallels, .parallelsExtended: "parallels"
            }
        return ImageFormat(rawValue: name) ?? .raw
    }
}

/// An image of `bytes`, opened by itself.
func opened(_ bytes: [UInt8], as format: ClusterImageBuilder.Format, policy: any OpenPolicy = NoFiles()) -> OpenedImage
{
    let file = MemoryFile(bytes, path: "memory.\(format.imageFormat.driver.extensions[0])")
    return ImageOpener(policy: policy, resources: LayerResources(cacheSize: 1 << 20))
        .open(file, as: format.imageFormat, counters: ReadCounters())
}

/// Opens nothing.
struct NoFiles: OpenPolicy {
    func open(_ reference: FileReference, namedBy file: any HostFile) throws(ImageError) -> any HostFile {
        throw ImageError(.denied, path: file.path, "\(reference.text) is not opened")
    }
}

/// What a check of `bytes` finds.
func checked(_ bytes: [UInt8], as format: ClusterImageBuilder.Format) throws -> CheckResult? {
    try (opened(bytes, as: format).layers.first?.image as? any CheckableImage)?.check { _ in }
}

/// The text of `inspect`, and what the file is used for.
func inspected(_ bytes: [UInt8], as format: ClusterImageBuilder.Format) throws -> (text: String, map: HostMap) {
    let file = MemoryFile(bytes)
    let image = try InspectedImage(file, as: format.imageFormat, policy: NoFiles())
    var lines = ""
    let text = LayoutText(TextStyle()) { (line) throws(ImageError) in lines += line }
    try image.list(to: text, LayoutOptions(showsEntries: true, entryLimit: 64))
    return (lines, try image.hostMap(cellLimit: 1024))
}
