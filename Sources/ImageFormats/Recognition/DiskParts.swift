import BlockImage
import FormatCore

/// Those of the names in a folder that are parts of the disks of others, in any format.
public struct DiskParts: Sendable {
    private let parts: Set<[UInt8]>

    private static var drivers: [any SplitFormat] {
        ImageFormat.allCases.compactMap { $0.driver as? any SplitFormat }
    }

    /// Looks at the folder that holds `names`, whose files `open` opens; nil for what cannot be opened. Only files whose names
    /// look like parts, and those that may name them, are looked into.
    public init(among names: [[UInt8]], open: ([UInt8]) -> (any HostFile)?) {
        parts = Self.drivers.reduce(into: []) { $0.formUnion($1.parts(among: names, open: open)) }
    }

    /// Those that look like parts of others of `names`, where nothing is looked into.
    public init(named names: [[UInt8]]) {
        parts = Self.drivers.reduce(into: []) { $0.formUnion($1.parts(named: names)) }
    }

    /// Whether `name` is one.
    public func contains(_ name: [UInt8]) -> Bool { parts.contains(name) }
}
