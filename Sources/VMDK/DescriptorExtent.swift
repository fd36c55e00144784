import BlockImage

/// A line of the descriptor that describes an extent (Virtual Disk Format 5.0, "The Extent Description"):
///
///     ACCESS SECTORS TYPE ["FILE" [OFFSET [PARTITION-UUID [DEVICE-ID]]]]
public struct DescriptorExtent: Hashable, Sendable {
    /// What the virtual machine may do with the extent.
    public enum Access: String, Hashable, Sendable {
        /// Read and write it.
        case readWrite = "RW"
        /// Read it.
        case readOnly = "RDONLY"
        /// Nothing: a reader gets zeros all the same.
        case noAccess = "NOACCESS"
    }

    /// How an extent is stored, for the types that are known.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Byte for byte in a file or a device.
        case flat = "FLAT"
        /// In a hosted sparse extent.
        case sparse = "SPARSE"
        /// Nowhere: it is zeros.
        case zero = "ZERO"
        /// Byte for byte in a file on VMFS.
        case vmfs = "VMFS"
        /// In a copy-on-write disk of ESX (COWD).
        case vmfsSparse = "VMFSSPARSE"
        /// On a logical unit, to which the file is a pointer.
        case vmfsRDM = "VMFSRDM"
        /// On a device.
        case vmfsRaw = "VMFSRAW"
        /// In a space-efficient sparse extent of ESXi.
        case seSparse = "SESPARSE"
    }

    /// What the virtual machine may do with it.
    public let access: Access
    /// Its size in sectors, as the line has it.
    public let sectors: UInt64
    /// The type's name in capitals, also of a type that is not known.
    public let kindName: String
    /// The file that holds it; nil where the line names none.
    public let name: DescriptorName?
    /// The sector of that file at which a flat extent begins; 0 where the line has none.
    public let offset: UInt64
    /// What identifies the partition that holds it, on a physical disk; nil where the line does not say it.
    public let partitionUUID: String?
    /// What identifies the device that holds it; nil where the line does not say it.
    public let deviceID: String?
    /// Where the line begins, in bytes from the start of the descriptor.
    public let position: Int

    /// The type, where it is a known one.
    public var kind: Kind? { Kind(rawValue: kindName) }

    /// The bytes that it has on the disk by its line.
    public var virtualSize: UInt64 { sectors <= sectorLimit ? sectors * sectorSize : .max }

    /// The byte of its file at which it begins; nil where it is not stored byte for byte.
    public var hostOffset: HostOffset? {
        guard name != nil, kind == .flat || kind == .vmfs, offset <= sectorLimit else { return nil }
        return HostOffset(offset * sectorSize)
    }

    /// The line as new disks have it, without its end. The name must be one that can be written: see
    /// `DescriptorName.writingFault`.
    var encoded: [UInt8] {
        var line = Array("\(access.rawValue) \(sectors) \(kindName)".utf8)
        if let name { line += Array(" \"".utf8) + name.bytes + Array("\"".utf8) }
        if kind == .flat { line += Array(" \(offset)".utf8) }
        return line
    }
}

extension DescriptorExtent {
    /// Whether it takes a file to read it.
    var needsFile: Bool { sectors > 0 && access != .noAccess && kind != .zero }

    /// Whether it lies on a device, as in the fullDevice and partitionedDevice disks of Linux and Windows. The name
    /// says it, and not the createType: VirtualBox writes fullDevice for the image of a disk in a file as well.
    var needsDevice: Bool { needsFile && name?.isDevice == true }

    /// Why it cannot be read; nil when it can, and for extents on devices, of which it depends on the others.
    var unsupportedFeature: String? {
        guard needsFile else { return nil }
        switch kind {
        case .vmfsRDM:
            return "the extent type \(kindName) is a raw device mapping: the file only points to a logical unit, and "
                + "holds nothing of the disk; clone the disk to a file in the hypervisor"
        case .vmfsRaw:
            return
                "the extent type \(kindName) is a raw device of the hypervisor's host, and no file; clone the disk to "
                + "a file there"
        case .flat, .vmfs, .sparse, .vmfsSparse, .seSparse, .zero, nil:
            if kindName == "VSANSPARSE" || name?.isObject == true {
                return
                    "the \(kindName) extent is an object of a vSAN or vVol datastore, and no file; clone the disk to "
                    + "a file in the hypervisor"
            }
            return kind == nil ? "the extent type \"\(kindName)\" is not known" : nil
        }
    }
}
