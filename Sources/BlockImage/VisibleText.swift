extension String {
    /// Text of an image as it may be shown: bytes that are not UTF-8 are replaced, and what would steer a terminal or
    /// turn the line around (controls, marks of direction) stands as `\u{1b}`. The backslash stands as itself.
    public init(visible bytes: some Collection<UInt8>) {
        self.init(visible: String(decoding: bytes, as: UTF8.self))
    }

    /// The text as it may be shown, as for bytes.
    public init(visible text: String) {
        self = ""
        for scalar in text.unicodeScalars {
            if scalar.isVisible {
                unicodeScalars.append(scalar)
            } else {
                self += "\\u{\(String(scalar.value, radix: 16))}"
            }
        }
    }
}

extension Unicode.Scalar {
    /// Whether showing it does no more than that: controls (C0, DEL, C1), line and paragraph separators, and the marks
    /// of direction do more; U+FFFE and U+FFFF are no characters, and no XML may have them.
    fileprivate var isVisible: Bool {
        switch value {
        case 0..<0x20, 0x7f...0x9f, 0x61c, 0x200e, 0x200f, 0x2028...0x202e, 0x2066...0x2069, 0xfffe, 0xffff: false
        default: true
        }
    }
}
