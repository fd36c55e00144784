import BlockImage
import EWF
import FormatCore
import Parallels
import QCOW1
import QCOW2
import QED
import Raw
import VDI
import VHD
import VHDX
import VMDK

/// A disk image format that this program reads: the name of a driver.
public struct ImageFormat: RawRepresentable, Hashable, CaseIterable, Sendable {
    /// What knows the format.
    public let driver: any FormatDriver
    /// The name: "raw", "qcow2", "vmdk".
    public var rawValue: String { driver.name }

    /// The disk, byte for byte.
    public static let raw = ImageFormat(RawDriver())
    /// QEMU's copy-on-write format, versions 2 and 3.
    public static let qcow2 = ImageFormat(QCOW2Driver())
    /// QEMU's first copy-on-write format.
    public static let qcow1 = ImageFormat(QCOW1Driver())
    /// QEMU's Enhanced Disk.
    public static let qed = ImageFormat(QEDDriver())
    /// Parallels' expanding format.
    public static let parallels = ImageFormat(ParallelsDriver())
    /// Examiners' copies of disks.
    public static let ewf = ImageFormat(EWFDriver())
    /// The disk, byte for byte, in several files.
    public static let splitRaw = ImageFormat(SplitRawDriver())
    /// VMware's virtual disk format.
    public static let vmdk = ImageFormat(VMDKDriver())
    /// The virtual hard disk of Virtual PC, Hyper-V and Azure.
    public static let vhd = ImageFormat(VHDDriver())
    /// VirtualBox's disk image.
    public static let vdi = ImageFormat(VDIDriver())
    /// Hyper-V's virtual hard disks.
    public static let vhdx = ImageFormat(VHDXDriver())
    /// The formats of this program. This is the only place that names them all.
    private static let builtIn: [ImageFormat] = [
        raw, qcow2, vmdk, vhd, vdi, vhdx, qcow1, qed, parallels, ewf, splitRaw,
    ]
    private static let added = Guarded<[ImageFormat]>([])

    private init(_ driver: any FormatDriver) {
        self.driver = driver
    }

    /// The format called `name`, by one of its names; nil where there is none.
    public init?(rawValue name: String) {
        let found = Self.allCases.first { $0.rawValue == name || $0.driver.otherNames.contains(name) }
        guard let format = found else { return nil }
        self = format
    }

    /// All formats, raw first.
    public static var allCases: [ImageFormat] { builtIn + added.withLock { $0 } }

    /// Adds the format of `driver` to those that are known from then on; for programs that bring a format of their own. To be
    /// done before any image is opened; a name or an extension that is known already keeps its format.
    public static func add(_ driver: any FormatDriver) {
        added.withLock { $0.append(ImageFormat(driver)) }
    }

    /// The names of all formats that `condition` holds for, as a list for people: "qcow2, vmdk and raw".
    public static func names(before last: String = "and", where condition: (ImageFormat) -> Bool = { _ in true })
        -> String
    {
        let names = (allCases.filter { $0 != raw } + [raw]).filter(condition).map(\.rawValue)
        guard let end = names.last, names.count > 1 else { return names.first ?? "" }
        return "\(names.dropLast().joined(separator: ", ")) \(last) \(end)"
    }

    /// Whether both have one name.
    public static func == (first: ImageFormat, second: ImageFormat) -> Bool { first.rawValue == second.rawValue }

    /// Hashes the name.
    public func hash(into hasher: inout Hasher) { hasher.combine(rawValue) }
}

extension ImageFormat {
    /// What a file's name says about its format.
    public enum Naming: Hashable, Sendable {
        /// The name says that it is of this format; nothing else is looked at.
        case format(ImageFormat)
        /// An image, but of which format only its content tells: `.img`.
        case ambiguous
    }

    /// The names of files that make the folder that they are in one image.
    package static var fileNames: [[UInt8]] { allCases.flatMap(\.driver.fileNames) }

    /// The extensions and names that call files images, each once, as a list for people: ".qcow2, .vmdk, .raw and .img".
    public static var imageNames: String {
        let formats = allCases.filter { $0 != raw } + [raw]
        let extensions = formats.flatMap(\.driver.extensions).map { ".\($0)" }
        let names = formats.flatMap(\.driver.fileNames).map { String(decoding: $0, as: UTF8.self) }
        var known: Set<String> = []
        return "\((extensions + names).filter { known.insert($0).inserted }.joined(separator: ", ")) and .img"
    }

    /// What the name's extension says, in upper or lower case; nil for a file that its name does not call an image.
    public static func naming(of fileName: some BidirectionalCollection<UInt8>) -> Naming? {
        guard let suffix = fileName.fileExtension else { return nil }
        if suffix == "img" { return .ambiguous }
        let known = allCases.first { format in
            format.driver.extensions.contains(suffix)
                || format.driver.fileNames.contains { $0.elementsEqual(fileName) }
        }
        return known.map { .format($0) }
    }

    /// Whether the extension of `name` calls it a disk image, and is not all of the name.
    public static func isDiskName(_ name: [UInt8]) -> Bool {
        guard let suffix = name.fileExtension, name.count > suffix.utf8.count + 1 else { return false }
        return naming(of: name) != nil
    }

    /// This format, or another one with the same extension, where `file` has that and is of the other by its content: `.qcow`.
    public func ofContent(of file: any HostFile) -> ImageFormat {
        guard let suffix = file.path.nameBytes.fileExtension, driver.extensions.contains(suffix) else { return self }
        let others = Self.allCases.filter { $0.driver.extensions.contains(suffix) }
        guard others.count > 1, let found = try? Self.probe(file), others.contains(found) else { return self }
        return found
    }

    /// The format of which a file of this one may be a part: this one, where its disks may lie in several files; of a file that
    /// nothing but its content calls raw (not `isNamed`), raw disks in parts, as `disk.002` is.
    public func splitting(isNamed: Bool) -> (any SplitFormat)? {
        (self == .raw && !isNamed ? Self.splitRaw : self).driver as? any SplitFormat
    }

    /// What the file's first bytes say, and else its last ones. Every file is at least raw.
    public static func probe(_ file: any HostFile) throws(ImageError) -> ImageFormat {
        let start = try file.bytes(Int(min(file.size, 4096)), at: HostOffset(0), of: "first bytes")
        if let format = allCases.first(where: { $0.driver.recognizes(firstBytes: start) }) { return format }
        // A rescue must not end at a bad last sector.
        let size = min(file.size, 512)
        let end = (try? file.bytes(Int(size), at: HostOffset(file.size - size), of: "last bytes")) ?? []
        return allCases.first { $0.driver.recognizes(lastBytes: end) } ?? .raw
    }

    /// The format of what an image calls `name`, where it does not say it: what the name says, else `usual`; nil: its content
    /// decides, also for a `.img`, since a guest may have written it.
    static func ofBacking(_ name: BackingName) -> ImageFormat? {
        switch naming(of: name.bytes) {
        case .format(let format): format
        case .ambiguous: nil
        case nil: name.usualFormat.flatMap { ImageFormat(rawValue: $0) }
        }
    }
}

extension BidirectionalCollection where Element == UInt8 {
    /// What comes after the last dot of a file's name, in lower case; nil where there is no dot.
    var fileExtension: String? {
        lastIndex(of: UInt8(ascii: ".")).map { String(decoding: self[$0...].dropFirst(), as: UTF8.self).lowercased() }
    }
}
