/// Walks over the fields of one structure and tells a consumer of each: the next begins where the last ended, so that
/// they tile the structure. Goes on behind what is wrong, and behind the end of the bytes, where every field is faulty.
public struct LayoutCursor {
    /// Where the structure begins in the file.
    public let start: HostOffset
    /// The next byte to look at, counted from the structure's start.
    public private(set) var position = 0
    /// What is wrong, by the byte of the structure that it is about: told with the field that has the byte.
    public var faults: [Int: ErrorText] = [:]
    private let bytes: [UInt8]
    private let isLittleEndian: Bool
    private let consumer: any LayoutConsumer

    /// A cursor at the first of `bytes`, which lie at `start` of the file, that tells `consumer`.
    public init(
        _ bytes: [UInt8], at start: HostOffset, isLittleEndian: Bool, telling consumer: any LayoutConsumer
    ) {
        self.bytes = bytes
        self.start = start
        self.isLittleEndian = isLittleEndian
        self.consumer = consumer
    }

    /// How many bytes are left.
    public var remaining: Int { max(0, bytes.count - position) }

    /// Tells of an integer of `size` bytes, 1 to 8, and answers it; bytes that are missing count as zeros.
    ///
    /// `meaning` says what the number means; an empty text: nothing but itself.
    @discardableResult
    public mutating func number(
        _ name: String, size: Int, _ meaning: (UInt64) -> String = { _ in "" }
    ) throws(ImageError) -> UInt64 {
        let raw = next(size)
        var number: UInt64 = 0
        for index in 0..<size {
            let place = isLittleEndian ? size - 1 - index : index
            number = number << 8 | UInt64(place < raw.count ? raw[place] : 0)
        }
        let text = meaning(number)
        try tell(name, size: size, raw: raw, number: number, value: text.isEmpty ? "\(number)" : "\(text)")
        return number
    }

    /// Tells of `size` bytes that are no number, and answers those that are there; `meaning` says what they mean.
    ///
    /// Where `isSecret`, they are kept back.
    @discardableResult
    public mutating func bytes(
        _ name: String, size: Int, isSecret: Bool = false, _ meaning: ([UInt8]) -> ErrorText
    ) throws(ImageError) -> [UInt8] {
        let raw = next(size)
        try tell(name, size: size, raw: isSecret ? [] : raw, number: nil, value: meaning(raw), found: raw.count)
        return raw
    }

    /// Tells of `size` bytes of text that ends at a NUL, if there is one.
    @discardableResult
    public mutating func text(_ name: String, size: Int) throws(ImageError) -> [UInt8] {
        try bytes(name, size: size) { "\"\(path: printable($0.prefix { $0 != 0 }))\"" }
    }

    /// Tells of `size` bytes that the format reserves.
    public mutating func reserved(_ name: String, size: Int) throws(ImageError) {
        try bytes(name, size: size) { raw in
            raw.firstIndex { $0 != 0 }.map { "not all zeros: byte \($0) is 0x\(String(raw[$0], radix: 16))" } ?? "zeros"
        }
    }

    /// The integer of `size` bytes, 1 to 8, at `position`, which is not passed over; nil where the bytes end before.
    public func peek(_ size: Int, at position: Int) -> UInt64? {
        guard position >= 0, position <= bytes.count, size <= bytes.count - position else { return nil }
        let stored = bytes[position..<position + size]
        return isLittleEndian
            ? stored.reversed().reduce(0) { $0 << 8 | UInt64($1) } : stored.reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Passes over `size` bytes, of which nothing is reported.
    public mutating func skip(_ size: Int) {
        position += size
    }

    private mutating func next(_ size: Int) -> [UInt8] {
        let from = min(position, bytes.count)
        let raw = Array(bytes[from..<min(from + size, bytes.count)])
        position += size
        return raw
    }

    private func tell(
        _ name: String, size: Int, raw: [UInt8], number: UInt64?, value: ErrorText, found: Int? = nil
    ) throws(ImageError) {
        let first = position - size
        let told = faults.filter { (first..<max(position, first + 1)).contains($0.key) }.sorted { $0.key < $1.key }
        var fault = ErrorText(told.map(\.value), separator: "; ")
        let count = found ?? raw.count
        if count < size {
            fault += "\(fault.isEmpty ? "" : "; ")the file ends within it, \(size - count) bytes early"
        }
        try consumer.add(
            LayoutField(
                name, at: start.advanced(by: UInt64(first)), size: UInt64(size),
                raw: Array(raw.prefix(LayoutField.rawLimit)), number: number, value: value,
                fault: fault.isEmpty ? nil : fault))
    }
}
