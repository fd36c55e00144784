import BlockImage
import FormatCore

/// The disks of Parallels Desktop and Virtuozzo: expanding images, and folders of them with a descriptor.
public struct ParallelsDriver: InspectableFormat, SplitFormat {
    /// "parallels"
    public let name = "parallels"
    /// What it is called in messages.
    public let imageName: String? = "a Parallels image"
    /// `.hds`, and `.hdd` of older versions.
    public let extensions = ["hds", "hdd"]
    /// The descriptor in a folder `….hdd`.
    public let fileNames = [DiskDescriptor.fileName]

    /// The driver.
    public init() {}

    /// Whether it begins with one of the magics, or as a descriptor.
    public func recognizes(firstBytes bytes: [UInt8]) -> Bool {
        bytes.starts(with: Header.magic) || bytes.starts(with: Header.extendedMagic) || isDescriptor(bytes)
    }

    private func isDescriptor(_ bytes: [UInt8]) -> Bool {
        bytes.starts(with: "<?xml".utf8) && bytes.place(of: DiskDescriptor.mark.utf8) != nil
    }

    private func isDescriptor(_ file: any HostFile) -> Bool {
        guard let start = try? file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "first bytes") else {
            return false
        }
        return isDescriptor(start)
    }

    /// Reads the header, or the descriptor.
    public func describe(_ file: any HostFile) throws(ImageError) -> any FormatImage {
        if isDescriptor(file) { return try ParallelsBundle(file) }
        return try ParallelsImage(file)
    }

    /// The header and the BAT, or that it is a descriptor.
    public func layout(of file: any HostFile, policy: (any OpenPolicy)?) throws(ImageError) -> any FormatLayout {
        if isDescriptor(file) { return DescriptorLayout(file: file) }
        return try ParallelsLayout(file)
    }

    /// Whether it is no descriptor.
    public func mayBePart(_ image: any FormatImage) -> Bool { image is ParallelsImage }

    /// That a descriptor beside it names it and others.
    public func partError(of file: any HostFile, policy: any OpenPolicy) -> ImageError? {
        let path = file.path.nameBytes
        let name = Array(path[((path.lastIndex(of: UInt8(ascii: "/")) ?? -1) + 1)...])
        guard name != DiskDescriptor.fileName, policy.names(besides: file).contains(DiskDescriptor.fileName),
            let other = try? policy.open(
                FileReference(DiskDescriptor.fileName, role: .descriptor), namedBy: file),
            let descriptor = try? DiskDescriptor(other), descriptor.files.count > 1, descriptor.files.contains(name)
        else { return nil }
        return ImageError(
            .unsupported, path: file.path,
            "holds a part of the disk of \(path: nameText(DiskDescriptor.fileName)) beside it, and is no image by itself: use that",
            hint: "--format \(self.name) reads it as it is")
    }

    /// None: a part is an image.
    public func isFlatExtent(_ file: any HostFile) -> Bool { false }

    /// As it is.
    public func namingFlatExtent(
        in error: ImageError, of file: any HostFile, policy: any OpenPolicy
    ) -> ImageError { error }

    /// Those that the descriptor among them names.
    public func parts(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) -> Set<[UInt8]> {
        guard names.contains(DiskDescriptor.fileName), let file = open(DiskDescriptor.fileName),
            let descriptor = try? DiskDescriptor(file)
        else { return [] }
        return descriptor.files.intersection(names)
    }

    /// None: only the descriptor knows them.
    public func parts(named names: [[UInt8]]) -> Set<[UInt8]> { [] }
}

/// A disk descriptor as `inspect` shows it.
private struct DescriptorLayout: FormatLayout {
    let file: any HostFile
    let unit: UInt64 = 512

    func list(to consumer: any LayoutConsumer, _ options: LayoutOptions) throws(ImageError) {
        try consumer.structure(LayoutStructure("disk descriptor", at: HostOffset(0), size: file.size)) {
            () throws(ImageError) in
            let descriptor: DiskDescriptor
            do throws(ImageError) { descriptor = try DiskDescriptor(file) } catch {
                return try consumer.fault(error.detail)
            }
            try consumer.note("\(counted(descriptor.sectorCount, "sector"))")
            for (number, storage) in descriptor.storages.enumerated() {
                for image in storage.images {
                    try consumer.note(
                        "storage \(number), sectors \(storage.start) to \(storage.end): snapshot \(printable(image.guid)), "
                            + "\(image.isPlain ? "plain" : "expanding"), \"\(path: printable(image.file))\"")
                }
            }
            for shot in descriptor.shots {
                try consumer.note(
                    "snapshot \(printable(shot.guid))" + (shot.parent.map { " over \(printable($0))" } ?? "")
                        + (shot.guid == descriptor.top ? ": the disk" : ""))
            }
        }
    }

    func recordUse(in recorder: any HostUseRecorder) throws(ImageError) {
        recorder.record(.descriptor, at: HostOffset(0), count: file.size) { _, _ in false }
    }
}
