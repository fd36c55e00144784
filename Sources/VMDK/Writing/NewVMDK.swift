import BlockImage
import Compression

/// What a new VMDK disk is to be: what `qemu-img create -o` lets people choose, with QEMU's defaults.
public struct NewVMDK: Hashable, Sendable {
    /// How the disk lies in files (Virtual Disk Format 5.0, "createType").
    public enum Subformat: String, Hashable, Sendable, CaseIterable {
        /// In grains, in one file that holds the descriptor as well.
        case monolithicSparse
        /// Byte for byte, in one file beside that of the descriptor.
        case monolithicFlat
        /// In grains, in files of at most 2,047 MiB of the disk beside that of the descriptor.
        case twoGbMaxExtentSparse
        /// Byte for byte, in files of at most 2,047 MiB beside that of the descriptor.
        case twoGbMaxExtentFlat
        /// In compressed grains, in one file that can be read from its start to its end: for transport, and in OVAs.
        case streamOptimized
    }

    /// The disk controller that the virtual machine has for it (ddb.adapterType).
    public enum AdapterType: String, Hashable, Sendable, CaseIterable {
        /// IDE.
        case ide
        /// BusLogic's SCSI.
        case buslogic
        /// LSI Logic's SCSI, and whatever came after it.
        case lsilogic
        /// SCSI of old ESX servers.
        case legacyESX
    }

    /// The image that has the bytes that the new one does not.
    public struct Parent: Hashable, Sendable {
        /// Its name, as the descriptor is to have it (parentFileNameHint).
        public var name: String
        /// Its content identifier, by which readers see whether it was changed since (parentCID).
        public var cid: UInt32

        /// The parent called `name` whose content identifier is `cid`.
        public init(name: String, cid: UInt32) {
            self.name = name
            self.cid = cid
        }
    }

    /// The size of the disk in bytes. VMDK counts in sectors: the last one is filled up with zeros.
    public var size: UInt64
    /// How it lies in files (`subformat`).
    public var subformat = Subformat.monolithicSparse
    /// The disk controller (`adapter_type`).
    public var adapterType = AdapterType.ide
    /// The version of the virtual hardware (`hwversion`, ddb.virtualHWVersion): 4 is what every product reads, 6 came
    /// with Workstation 6 (`compat6`).
    public var hardwareVersion = 4
    /// The version of VMware Tools in the guest (`toolsversion`, ddb.toolsVersion): 2,147,483,647, which VMware writes
    /// where it does not manage them.
    public var toolsVersion = Int(Int32.max)
    /// Whether zeros over a parent are an entry of a grain table, and not grains full of zeros (`zeroed_grain`).
    /// VirtualBox does not read such disks.
    public var hasZeroedGrains = false
    /// The image under it; nil for a disk of its own.
    public var parent: Parent?
    /// How hard the grains of streamOptimized are compressed, one of `compressionLevels`.
    public var compressionLevel = 6
    /// Whether nothing but the sizes of its files matters: then its content identifier is not that of its content.
    public var isMeasured = false

    /// The levels of compression that there are: the first is the fastest, the last makes the least of what it is given.
    public static let compressionLevels = Deflate.levels

    /// A disk of `size` bytes in one sparse file.
    public init(size: UInt64) {
        self.size = size
    }
}

extension NewVMDK.Subformat {
    /// Whether the extents are byte for byte what the disk has.
    var isFlat: Bool { self == .monolithicFlat || self == .twoGbMaxExtentFlat }
    /// Whether the disk is cut into several extents.
    var isSplit: Bool { self == .twoGbMaxExtentSparse || self == .twoGbMaxExtentFlat }
    /// Whether the descriptor lies in the file of the only extent.
    var hasEmbeddedDescriptor: Bool { self == .monolithicSparse || self == .streamOptimized }
}

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
