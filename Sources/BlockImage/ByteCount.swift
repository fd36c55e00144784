/// Why a text is no number of bytes that there can be.
public enum ByteCountFault: Error {
    case noNumber
    case negative
    case tooLarge

    private static let forms = "1048576, 512K, 1.5G, 10GiB, 10GB or 0x100000"

    /// What it must be, for a message about one that is not so.
    public var wanted: String {
        switch self {
        case .noNumber: "a number of bytes, as \(Self.forms)"
        case .negative: "0 or more, as \(Self.forms)"
        case .tooLarge: "less than 8 EiB (9223372036854775808 bytes)"
        }
    }
}

/// The number of bytes that people write as 1048576, 512K, 48M, 1.5G, 2TiB, 10GB or 0x100000, in upper or lower case. K, M, G,
/// T, P, E, and these with iB, are powers of 1024, those with B alone of 1000. A fraction of a byte is dropped.
///
/// Throws for what is none, or more than a file can have.
public func byteCount(of text: String) throws(ByteCountFault) -> UInt64 {
    if text.hasPrefix("-") {
        do {
            _ = try byteCount(of: String(text.dropFirst()))
        } catch .noNumber {
            throw .noNumber
        } catch {}
        throw .negative
    }
    let isHexadecimal = text.hasPrefix("0x") || text.hasPrefix("0X")
    let start = isHexadecimal ? text.dropFirst(2) : text[...]
    let number = start.prefix { isHexadecimal ? $0.isHexDigit : "0"..."9" ~= $0 || $0 == "." }
    guard let unit = unitSize(start[number.endIndex...].lowercased(), isHexadecimal) else { throw .noNumber }
    let parts = number.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count <= 2, !parts[0].isEmpty, parts[0].utf8.count == parts[0].count else { throw .noNumber }
    var more: UInt64 = 0
    if parts.count == 2 {
        guard unit > 1, 1...6 ~= parts[1].count, let fraction = UInt64(parts[1]) else { throw .noNumber }
        let scale = (0..<parts[1].count).reduce(UInt64(1)) { scale, _ in scale * 10 }
        // Less than a unit, of at most 2^60 bytes; and less than 10^6 of 10^6 parts.
        more = fraction * (unit / scale) + fraction * (unit % scale) / scale
    }
    // All are digits, so that only how many there are can be wrong.
    guard let whole = UInt64(parts[0], radix: isHexadecimal ? 16 : 10) else { throw .tooLarge }
    let (units, overflow) = whole.multipliedReportingOverflow(by: unit)
    let (count, carry) = units.addingReportingOverflow(more)
    guard !overflow, !carry, count <= UInt64(Int64.max) else { throw .tooLarge }
    return count
}

/// The bytes of what people call `name`, in lower case.
private func unitSize(_ name: String, _ isHexadecimal: Bool) -> UInt64? {
    guard let letter = name.first else { return 1 }
    guard let power = Array("kmgtpe").firstIndex(of: letter).map({ UInt64($0) + 1 }) else { return nil }
    switch name.dropFirst() {
    case "", "ib": return 1 << (10 * power)
    case "b" where !isHexadecimal: return (0..<power).reduce(1) { size, _ in size * 1000 }
    default: return nil
    }
}
