import BlockImage
import QCOW2
import VMDK

/// A disk image format that this program reads.
public enum ImageFormat: String, CaseIterable, Sendable {
    /// The disk, byte for byte.
    case raw
    /// QEMU's copy-on-write format, versions 2 and 3.
    case qcow2
    /// VMware's virtual disk format.
    case vmdk

    /// What a file's name says about its format.
    public enum Naming: Hashable, Sendable {
        /// The name says that it is of this format; nothing else is looked at.
        case format(ImageFormat)
        /// An image, but of which format only its content tells: `.img`.
        case ambiguous
    }

    /// What the name's extension says, in upper or lower case; nil for a file that its name does not call an image.
    public static func naming(of fileName: some Collection<UInt8>) -> Naming? {
        guard let dot = fileName.lastIndexOfDot else { return nil }
        let suffix = String(decoding: fileName[dot...].dropFirst(), as: UTF8.self).lowercased()
        switch suffix {
        case "qcow2", "qcow": return .format(.qcow2)
        case "vmdk": return .format(.vmdk)
        case "raw": return .format(.raw)
        case "img": return .ambiguous
        default: return nil
        }
    }

    /// The format of the parent that a VMDK delta calls `name`; nil: its content decides.
    ///
    /// A descriptor does not say it, and VMware's products write deltas of VMDK images only. Another extension is
    /// believed; a `.img` is looked into as everywhere, since a guest may have written it.
    static func ofParent(called name: DescriptorName) -> ImageFormat? {
        switch naming(of: name.bytes) {
        case .format(let format): format
        case .ambiguous: nil
        case nil: .vmdk
        }
    }

    /// What the file's first bytes say. Every file is at least raw.
    public static func probe(_ file: any HostFile) throws(ImageError) -> ImageFormat {
        let start = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "first bytes")
        if QCOW2Description.recognizes(start) { return .qcow2 }
        if isVMDK(firstBytes: start) { return .vmdk }
        return .raw
    }
}

extension Collection where Element == UInt8 {
    fileprivate var lastIndexOfDot: Index? {
        indices.reversed().first { self[$0] == UInt8(ascii: ".") }
    }
}
