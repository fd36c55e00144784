import BlockImage

extension NewVMDK {
    /// Throws `unsupported`, about the image that is to be at `path`, for what cannot be made, or what other programs
    /// would not read.
    public func validate(path: String) throws(ImageError) {
        if let message = refusal { throw ImageError(.unsupported, path: path, message) }
    }

    /// Why it cannot be made; nil where it can.
    private var refusal: String? {
        guard size > 0 else {
            return "size: is 0, but must be at least one sector, 512 bytes: nothing reads such a disk"
        }
        guard size <= Self.sizeLimit(of: subformat) else {
            return
                "size: is \(size) bytes, but must be at most \(Self.sizeLimit(of: subformat)) for \(subformat.rawValue)"
        }
        if subformat.isFlat {
            if parent != nil { return "parent: \(subformat.rawValue) cannot have one; a sparse subformat must be used" }
            if hasZeroedGrains {
                return "zeroed grains: \(subformat.rawValue) has no grains; a sparse subformat must be used"
            }
        }
        if subformat == .streamOptimized && hasZeroedGrains {
            return "zeroed grains: who reads streamOptimized from start to end would not see them; another sparse "
                + "subformat must be used"
        }
        guard (1...999).contains(hardwareVersion) else {
            return
                "hardware version: is \(hardwareVersion), but must be from 1 to 999, and 4 or more for today's products"
        }
        guard (0...Int(Int32.max)).contains(toolsVersion) else {
            return "tools version: is \(toolsVersion), but must be from 0 to \(Int32.max)"
        }
        if let parent {
            if parent.name.isEmpty { return "parent: has no name" }
            if parent.cid == Descriptor.noParent {
                return
                    "parent: its content identifier is ffffffff, which must be another: it means that there is no parent"
            }
        }
        return nil
    }

    /// The most bytes that a disk of `subformat` may have: what readers take.
    static func sizeLimit(of subformat: Subformat) -> UInt64 {
        switch subformat {
        // Held to what a grain directory of as many entries as readers take reaches: 512 grains of 64 KiB each.
        case .monolithicSparse, .streamOptimized: SparseHeader.directoryEntryLimit * (512 * 65536)
        case .monolithicFlat: sectorLimit * sectorSize
        case .twoGbMaxExtentSparse, .twoGbMaxExtentFlat: UInt64(Descriptor.extentLimit) * splitSize
        }
    }

    /// The bytes of the disk in each file of the split subformats but the last: 2,047 MiB, as VMware's products cut it,
    /// so that a full sparse extent stays below 2 GiB with its tables.
    static let splitSize: UInt64 = 2047 << 20
}
