import BlockImage
import FormatCore

/// New images that are written to as soon as they are there.
public enum QCOW2Overlay {
    /// The default for what is written over a disk of `size` bytes, the image `backing`: clusters of 64 KiB with
    /// subclusters of 2 KiB, so that small writes take little space and copy next to nothing. QEMU reads that since 5.2.
    public static func image(size: UInt64, over backing: NewQCOW2.Backing?) -> NewQCOW2 {
        var image = NewQCOW2(size: size)
        image.hasExtendedL2 = true
        image.backing = backing
        return image
    }

    /// What can be chosen of it: what an image has that is written to in place.
    public static let options: [ImageOption<NewQCOW2>] =
        NewQCOW2.options.filter { ["cluster_size", "extended_l2", "refcount_bits"].contains($0.name) } + [
            ImageOption(name: "compat", help: "1.1 or v3: the version, of which there is no other", values: ["1.1"]) {
                (_, value) throws(OptionFault) in
                guard ["1.1", "v3"].contains(value.text) else { throw value.fault("1.1 (or v3)") }
            }
        ]

    /// Has `image`, the default, be as `list` says. Clusters that are too small for subclusters have none, unless these are asked
    /// for.
    ///
    /// Throws for options that there are not, and for values that cannot be.
    public static func choose(_ list: ImageOptionList, for image: inout NewQCOW2) throws(OptionFault) {
        try ImageOption.apply(list, options, to: &image, format: "an overlay")
        if !list.items.contains(where: { $0.name == "extended_l2" }) {
            image.hasExtendedL2 = image.clusterSize >= NewQCOW2.leastExtendedClusterSize
        }
        if let fault = image.optionFault(compressionLevel: nil) { throw OptionFault(message: fault) }
    }

    /// Makes the file, which is empty, the image `image` of which nothing is written yet; it is on stable storage then. To be
    /// read and written it is opened anew: as an image, this file is as large as when it was opened.
    ///
    /// Throws what `NewQCOW2.validate` throws, and what writing throws.
    public static func create(_ image: NewQCOW2, in file: any WritableFile) throws(ImageError) {
        try QCOW2Writer(image, in: EmptyFile(file)).finish()
        try file.sync()
    }
}

/// A file that is there, as one in which an image is made.
private final class EmptyFile: NewFile {
    private let file: any WritableFile

    init(_ file: any WritableFile) {
        self.file = file
    }

    var path: String { file.path }

    func write(_ bytes: RawSpan, at offset: HostOffset, stored: StoredBytes?) throws(ImageError) {
        try file.write(bytes, at: offset)
    }

    func reserve(_ count: UInt64, at offset: HostOffset, isFilled: Bool) throws(ImageError) {
        let end = offset.advanced(by: count).rawValue
        if end > file.currentSize { try file.setSize(end) }
        try file.zero(count, at: offset, keepingSpace: true)
    }

    func setSize(_ size: UInt64) throws(ImageError) {
        try file.setSize(size)
    }
}
