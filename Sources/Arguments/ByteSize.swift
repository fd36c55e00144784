import ArgumentParser

/// A number of bytes as people write it: 1048576, 512K, 48M, 1G, 2T.
public struct ByteSize: ExpressibleByArgument, Hashable, Sendable {
    /// How many bytes.
    public var count: Int

    /// `count` bytes.
    public init(count: Int) {
        self.count = count
    }

    /// The number of bytes that `argument` says, if it is a size that fits.
    public init?(argument: String) {
        let shifts: [Character: Int] = ["K": 10, "M": 20, "G": 30, "T": 40]
        let shift = argument.last.flatMap { shifts[Character($0.uppercased())] }
        guard let number = Int(shift == nil ? argument[...] : argument.dropLast()), number >= 0 else { return nil }
        let (count, overflow) = number.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        guard !overflow else { return nil }
        self.count = count
    }

    /// In MiB, as the help shows a default.
    public var defaultValueDescription: String { "\(count >> 20)M" }
}
