import BlockImage
import FormatCore
import OVA

/// A format of files that hold disk images: the name of a driver.
public struct ContainerFormat: Hashable, Sendable {
    /// What knows the format.
    public let driver: any ContainerDriver
    /// The name: "ova".
    public var name: String { driver.name }

    /// The formats of this program. This is the only place that names them all.
    private static let builtIn: [ContainerFormat] = [ContainerFormat(OVADriver())]
    private static let added = Guarded<[ContainerFormat]>([])

    private init(_ driver: any ContainerDriver) {
        self.driver = driver
    }

    /// Adds the format of `driver`, as `ImageFormat.add` does.
    public static func add(_ driver: any ContainerDriver) {
        added.withLock { $0.append(ContainerFormat(driver)) }
    }

    /// What a file's name says that it is, by its extension in upper or lower case; nil for a file that its name does not
    /// call a container.
    public static func naming(of fileName: some BidirectionalCollection<UInt8>) -> ContainerFormat? {
        guard let suffix = fileName.fileExtension else { return nil }
        return (builtIn + added.withLock { $0 }).first { $0.driver.extensions.contains(suffix) }
    }

    /// What is in `file`. Throws what the driver throws.
    public func open(_ file: any HostFile) throws(ImageError) -> any DiskContainer {
        try driver.open(file) { ImageFormat.isDiskName($0) }
    }

    /// Whether both have one name.
    public static func == (first: ContainerFormat, second: ContainerFormat) -> Bool { first.name == second.name }

    /// Hashes the name.
    public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

extension ContainedDisk {
    /// What its name says of its format, else what the container does; nil: its content decides. `probesImg`: whether a
    /// `.img` is recognised by its content; otherwise it is raw.
    public func imageFormat(probesImg: Bool = true) -> ImageFormat? {
        switch ImageFormat.naming(of: name) {
        case .format(let format): format
        case .ambiguous: probesImg ? nil : .raw
        case nil: format.flatMap { ImageFormat(rawValue: $0) }
        }
    }
}
