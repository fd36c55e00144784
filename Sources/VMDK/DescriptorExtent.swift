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
        /// Nothing: who reads it all the same is shown zeros.
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
    /// The file that holds it, as the bytes that stand in the descriptor; nil where the line names none.
    public let fileName: [UInt8]?
    /// The sector of that file at which a flat extent begins; 0 where the line has none.
    public let offset: UInt64
    /// Where the line begins, in bytes from the start of the descriptor.
    public let position: Int

    /// The type, where it is a known one.
    public var kind: Kind? { Kind(rawValue: kindName) }

    /// The file name for people, with what is not UTF-8 replaced.
    public var fileNameText: String? { fileName.map { String(decoding: $0, as: UTF8.self) } }
}

extension DescriptorExtent {
    /// Whether it takes a file to read it.
    var needsFile: Bool { sectors > 0 && access != .noAccess && kind != .zero }

    /// Why it cannot be read; nil when it can.
    var unsupportedFeature: String? {
        guard needsFile else { return nil }
        switch kind {
        case .flat, .vmfs: return namesDevice ? "a \(kindName) extent on a device is not supported" : nil
        case .sparse, .vmfsSparse, .seSparse, .zero: return nil
        case .vmfsRDM, .vmfsRaw: return "the extent type \(kindName) is a device's, which is not supported"
        case nil: return "the extent type \"\(kindName)\" is not known"
        }
    }

    /// Whether the name is a device's, as in the fullDevice and partitionedDevice disks of Linux and Windows.
    private var namesDevice: Bool {
        guard let fileName else { return false }
        return fileName.starts(with: "/dev/".utf8) || fileName.starts(with: #"\\.\"#.utf8)
    }
}
