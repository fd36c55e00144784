import BlockImage

extension NewVMDK {
    /// The size of the disk in sectors.
    var sectors: UInt64 { size / sectorSize + (size % sectorSize == 0 ? 0 : 1) }

    /// The size of the disk in bytes, in whole sectors.
    public var diskSize: UInt64 {
        let (count, overflow) = sectors.multipliedReportingOverflow(by: sectorSize)
        return overflow ? .max : count
    }

    /// The sectors of each extent but the last, which may have less.
    var extentSectors: UInt64 { subformat.isSplit ? Self.splitSectors : sectors }

    /// The sectors of the extents of split disks: 2,047 MiB, as VMware's products cut them, so that a sparse extent
    /// stays below 2 GiB when it is full.
    static let splitSectors: UInt64 = 2047 << 11

    /// The lines of the extents, where the image is called `name`.
    func extents(ofImage name: String) -> [DescriptorExtent] {
        stride(from: 0, to: sectors, by: Int(extentSectors)).enumerated().map { index, start in
            let file = fileName(ofExtent: index + 1, ofImage: name)
            let kind: DescriptorExtent.Kind = subformat.isFlat ? .flat : .sparse
            return DescriptorExtent(
                access: .readWrite, sectors: min(extentSectors, sectors - start), kindName: kind.rawValue,
                name: DescriptorName(text: file), offset: 0, partitionUUID: nil, deviceID: nil,
                position: 0)
        }
    }

    /// The name of the file of the extent `number`, counted from 1, as VMware and QEMU make it of the image's `name`:
    /// name-s001.vmdk, name-f001.vmdk or name-flat.vmdk.
    private func fileName(ofExtent number: Int, ofImage name: String) -> String {
        // A point at the start makes a hidden file of it, and no suffix.
        let point = name.dropFirst().lastIndex(of: ".") ?? name.endIndex
        let digits = String(number)
        let count = String(repeating: "0", count: max(0, 3 - digits.count)) + digits
        let mark: String
        switch subformat {
        case .monolithicSparse, .streamOptimized: return name
        case .monolithicFlat: mark = "flat"
        case .twoGbMaxExtentSparse: mark = "s" + count
        case .twoGbMaxExtentFlat: mark = "f" + count
        }
        return "\(name[..<point])-\(mark)\(name[point...])"
    }
}
