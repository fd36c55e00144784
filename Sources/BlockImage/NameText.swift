/// Names are bytes, and Swift's strings are Unicode: in a string, a byte of a name that is not UTF-8 is the character
/// U+10FF00 and the byte, of an unused plane. A name that has such characters itself has each of their bytes
/// written so. Hence every name has one text, and every text of a name stands for its bytes (as Python's surrogateescape).

private let rawByteBase: UInt32 = 0x10ff00
private let rawBytes: ClosedRange<UInt32> = 0x10ff80...0x10ffff

/// The text of the name `bytes`, which has them all.
public func nameText(_ bytes: some Collection<UInt8>) -> String {
    // Only what begins with F4 may be one of those characters.
    if !bytes.contains(0xf4), let text = String(validating: bytes, as: UTF8.self) { return text }
    var text = String.UnicodeScalarView()
    func append(raw bytes: some Sequence<UInt8>) {
        for byte in bytes {
            // From U+10FF80 on, as only bytes from 0x80 on are no text by themselves.
            if let scalar = Unicode.Scalar(rawByteBase + UInt32(byte)) { text.append(scalar) }
        }
    }
    var rest = Array(bytes)[...]
    var parser = Unicode.UTF8.ForwardParser()
    var iterator = rest.makeIterator()
    while true {
        switch parser.parseScalar(from: &iterator) {
        case .valid(let encoded):
            let scalar = Unicode.UTF8.decode(encoded)
            if rawBytes.contains(scalar.value) { append(raw: encoded) } else { text.append(scalar) }
            rest = rest.dropFirst(encoded.count)
        case .error(let count):
            append(raw: rest.prefix(count))
            rest = rest.dropFirst(count)
        case .emptyInput: return String(text)
        }
    }
}

extension String {
    /// The bytes of the name that this is the text of.
    public var nameBytes: [UInt8] {
        guard hasRawBytes else { return Array(utf8) }
        var bytes: [UInt8] = []
        for scalar in unicodeScalars {
            if let byte = scalar.rawByte { bytes.append(byte) } else { bytes += Array(String(scalar).utf8) }
        }
        return bytes
    }

    /// Whether it is the text of a name that is not UTF-8.
    public var hasRawBytes: Bool {
        // F4 begins the characters from U+100000 on.
        utf8.contains(0xf4) && unicodeScalars.contains { $0.rawByte != nil }
    }

    /// The same for documents in Unicode: U+FFFD stands for each byte that is no text, as everywhere.
    public var withoutRawBytes: String {
        guard hasRawBytes else { return self }
        var text = String.UnicodeScalarView()
        for scalar in unicodeScalars { text.append(scalar.rawByte == nil ? scalar : "\u{fffd}") }
        return String(text)
    }
}

extension Unicode.Scalar {
    /// The byte of a name that it stands for; nil for a character.
    var rawByte: UInt8? {
        rawBytes.contains(value) ? UInt8(truncatingIfNeeded: value) : nil
    }
}
