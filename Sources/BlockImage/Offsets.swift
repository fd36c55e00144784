/// A place on the guest's disk, in bytes from its start.
public struct GuestOffset: RawRepresentable, Comparable, Hashable, Sendable, CustomStringConvertible {
    /// Bytes from the start of the disk.
    public var rawValue: UInt64

    /// The place `rawValue` bytes from the start.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The place `rawValue` bytes from the start.
    @inlinable
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// The place `count` bytes further on; held to the largest offset rather than wrapping.
    @inlinable
    public func advanced(by count: UInt64) -> GuestOffset {
        GuestOffset(saturatingSum(rawValue, count))
    }

    /// Order by position.
    @inlinable
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// The offset in hexadecimal, as `0x10000`.
    public var description: String { "0x" + String(rawValue, radix: 16) }
}

/// A place in a file on the host, in bytes from its start.
public struct HostOffset: RawRepresentable, Comparable, Hashable, Sendable, CustomStringConvertible {
    /// Bytes from the start of the file.
    public var rawValue: UInt64

    /// The place `rawValue` bytes from the start.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// The place `rawValue` bytes from the start.
    @inlinable
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// The place `count` bytes further on; held to the largest offset rather than wrapping.
    @inlinable
    public func advanced(by count: UInt64) -> HostOffset {
        HostOffset(saturatingSum(rawValue, count))
    }

    /// Order by position.
    @inlinable
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// The offset in hexadecimal, as `0x10000`.
    public var description: String { "0x" + String(rawValue, radix: 16) }
}

/// The sum, or the largest value where it does not fit: offsets come from files, and arithmetic on them never traps.
@inlinable
func saturatingSum(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let (sum, overflow) = left.addingReportingOverflow(right)
    return overflow ? .max : sum
}
