import BlockImage
import OVA

extension ImageFormat {
    /// Whether a file's name says that it is an appliance, an archive of disks: `.ova`, in upper or lower case.
    public static func isAppliance(_ name: [UInt8]) -> Bool {
        String(decoding: name.suffix(4), as: UTF8.self).lowercased() == ".ova"
    }
}

extension ApplianceDisk {
    /// What its name says of its format, else what the descriptor does; nil: its content decides. `probesImg`: whether a
    /// `.img` is recognised by its content; otherwise it is raw.
    public func format(probesImg: Bool = true) -> ImageFormat? {
        switch ImageFormat.naming(of: folderName) {
        case .format(let format): format
        case .ambiguous: probesImg ? nil : .raw
        case nil: disk?.format?.contains("vmdk") == true ? .vmdk : nil
        }
    }
}
