/// `number` as messages have it: `0x1f`.
public func hexadecimal(_ number: some BinaryInteger) -> String { "0x" + hexDigits(number, 1) }

/// `number` in lower-case hexadecimal digits without a prefix, with zeros before them where they are fewer than `least`:
/// `001f`.
public func hexDigits(_ number: some BinaryInteger, _ least: Int) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: max(0, least - digits.utf8.count)) + digits
}

/// `bytes` as pairs of hexadecimal digits with spaces between them: `0f a0`.
public func hexBytes(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { hexDigits($0, 2) }.joined(separator: " ")
}
