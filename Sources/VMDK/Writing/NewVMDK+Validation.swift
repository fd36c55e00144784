import BlockImage
import FormatCore

extension NewVMDK {
    /// Checks that there can be such a disk whose image lies at `path`, and that other programs read it: refuses what
    /// `qemu-img create` refuses, and some that it makes and no program reads, before anything is written.
    ///
    /// Throws `unsupported`, about `path`, with what must be changed.
    public func validate(path: String) throws(ImageError) {
        let name = String(path.split(separator: "/").last ?? "")
        if let message = faultOfSize ?? faultOfOptions ?? parentFault ?? nameFault(name) {
            throw ImageError(.unsupported, path: path, "\(message)")
        }
    }

    /// Why the options cannot be as they are, whatever the disk is.
    public var optionFault: OptionFault? { faultOfOptions.map { OptionFault(message: $0) } }

    /// Why there is no disk of this size.
    public var sizeFault: OptionFault? { faultOfSize.map { OptionFault(message: $0) } }

    private var faultOfSize: String? {
        if size == 0 { return "size is 0, but must be at least 1: other programs do not read an empty disk" }
        guard size > subformat.sizeLimit else { return nil }
        return "size is \(size), but must be at most \(subformat.sizeLimit) for subformat=\(subformat.rawValue)"
    }

    private var faultOfOptions: String? {
        if parent != nil && subformat.isFlat {
            return
                "option subformat: is \"\(subformat.rawValue)\", which has all bytes itself, but must be a sparse one over a "
                + "parent"
        }
        if hasZeroedGrains && subformat.isFlat {
            return
                "option zeroed_grain: subformat is \(subformat.rawValue), which has no grains, but must be a sparse one"
        }
        if hasZeroedGrains && subformat == .streamOptimized {
            return
                "option zeroed_grain: subformat is streamOptimized, but must be another sparse one: a reader of a stream from "
                + "its start to its end does not see such zeros"
        }
        if !(1...999).contains(hardwareVersion) {
            return "option hwversion: is \(hardwareVersion), but must be 1 to 999"
        }
        if !(0...Int(Int32.max)).contains(toolsVersion) {
            return "option toolsversion: is \(toolsVersion), but must be 0 to \(Int32.max)"
        }
        if !Self.compressionLevels.contains(compressionLevel) {
            return "the compression level is \(compressionLevel), but must be \(Self.compressionLevels.lowerBound) to "
                + "\(Self.compressionLevels.upperBound)"
        }
        return nil
    }

    private var parentFault: String? {
        guard let parent else { return nil }
        if let fault = DescriptorName(text: parent.name).writingFault {
            return "the name of the parent \(fault)"
        }
        guard parent.cid == Descriptor.noParent else { return nil }
        return "the content identifier of the parent is ffffffff, which says that there is none; it must be another"
    }

    /// Why the image cannot be called `name`; nil where it can.
    private func nameFault(_ name: String) -> String? {
        if let fault = DescriptorName(text: name).writingFault { return "the name of the image \(fault)" }
        if name.contains(":") && !subformat.hasEmbeddedDescriptor {
            return
                "the name of the image has a colon, but must have none for subformat=\(subformat.rawValue): QEMU takes "
                + "what is before it in the names of its files for a protocol"
        }
        let size = NewDescriptor(disk: self, extents: extents(ofImage: name), cid: 0).bytes.count
        guard size > Descriptor.sizeLimit else { return nil }
        return
            "the descriptor has \(size) bytes, but must have at most \(Descriptor.sizeLimit): the name of the image, "
            + "which is in it many times, must be shorter"
    }
}

extension NewVMDK.Subformat {
    /// The most bytes that a disk may have, so that readers take it.
    var sizeLimit: UInt64 {
        switch self {
        case .monolithicFlat: sectorLimit * sectorSize
        case .monolithicSparse, .streamOptimized:
            SparseHeader.directoryEntryLimit * UInt64(NewGrainTable.entryCount) * SparseHeader.newGrainSize * sectorSize
        case .twoGbMaxExtentSparse, .twoGbMaxExtentFlat:
            UInt64(Descriptor.extentLimit) * NewVMDK.splitSectors * sectorSize
        }
    }
}
