import ArgumentParser

/// A number of bytes as people write it: 1048576, 512K, 48M, 1G, 2T, 0x100000.
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
        let digits = shift == nil ? argument[...] : argument.dropLast()
        let isHexadecimal = digits.hasPrefix("0x") || digits.hasPrefix("0X")
        guard let number = isHexadecimal ? Int(digits.dropFirst(2), radix: 16) : Int(digits), number >= 0 else {
            return nil
        }
        let (count, overflow) = number.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        guard !overflow else { return nil }
        self.count = count
    }

    /// As the help shows a default: in MiB where it is a number of them.
    public var defaultValueDescription: String {
        count > 0 && count % (1 << 20) == 0 ? "\(count >> 20)M" : "\(count)"
    }
}
