import BlockImage
import Glibc

/// The encoding of the texts in a descriptor: its names and its values.
///
/// A descriptor is taken apart as bytes, and what stands between its quotes is decoded afterwards. That needs encodings
/// in which the bytes that take it apart (line ends, blanks, `"` 0x22, `#` 0x23 and `=` 0x3D) stand for nothing else:
/// the double-byte encodings of East Asia qualify, whose second bytes begin at 0x40 (0x30 in GB18030, digits only), and
/// so every position stays that of the file. A separator `\` (0x5C) may be such a second byte, so names are split only
/// when they are decoded.
enum DescriptorEncoding: Hashable, Sendable {
    /// UTF-8, the encoding of descriptors that name none.
    case utf8
    /// One that iconv(3) knows by this name.
    case named(String)

    /// The encoding that descriptors call `name`; nil for one that is not known.
    ///
    /// Only encodings in which Windows and Unix write file names are known, all supersets of ASCII: descriptors are
    /// hostile, and iconv has converters for much that is neither.
    init?(name: String) {
        let word = String(name.lowercased().filter { $0.isASCII && ($0.isLetter || $0.isNumber) })
        switch word {
        case "utf8", "usascii", "ascii": self = .utf8
        // Windows' own code pages where they go by the standard's name: in the Shift_JIS of glibc, 0x5C is a yen sign.
        case "shiftjis", "sjis", "xsjis", "windows31j", "windows932", "cp932", "ms932": self = .named("CP932")
        case "gbk", "gb2312", "euccn", "windows936", "cp936", "ms936": self = .named("CP936")
        case "gb18030", "windows54936": self = .named("GB18030")
        case "big5", "windows950", "cp950", "ms950": self = .named("CP950")
        case "big5hkscs": self = .named("BIG5-HKSCS")
        case "euckr", "uhc", "ksc5601", "windows949", "cp949", "ms949": self = .named("CP949")
        case "eucjp": self = .named("EUC-JP")
        case "euctw": self = .named("EUC-TW")
        case "windows874", "cp874", "tis620": self = .named("CP874")
        case "koi8r": self = .named("KOI8-R")
        case "koi8u": self = .named("KOI8-U")
        case "macintosh", "macroman": self = .named("MACINTOSH")
        default:
            let pages = (1250...1258).map(String.init)
            let parts = (1...16).filter { $0 != 12 }.map(String.init)
            if let page = pages.first(where: { word == "windows" + $0 || word == "cp" + $0 }) {
                self = .named("CP" + page)
            } else if let part = parts.first(where: { word == "iso8859" + $0 }) {
                self = .named("ISO-8859-" + part)
            } else {
                return nil
            }
        }
    }
}

/// Decodes texts of one encoding. To be used by one thread.
@safe struct TextDecoder: ~Copyable {
    /// What iconv_open(3) answered; nil for UTF-8, which needs no converter.
    private let converter: iconv_t?

    /// A decoder for `encoding`; nil where this system has none.
    init?(_ encoding: DescriptorEncoding) {
        switch encoding {
        case .utf8: unsafe converter = nil
        case .named(let name):
            // Safe: two NUL-terminated strings; the answer is a pointer that is only handed back to iconv, or -1.
            let opened = unsafe iconv_open("UTF-8", name)
            guard unsafe opened != iconv_t(bitPattern: -1) else { return nil }
            unsafe converter = opened
        }
    }

    deinit {
        // Safe: what iconv_open answered, closed once.
        if let converter = unsafe converter { unsafe _ = iconv_close(converter) }
    }

    /// The text that `bytes` stand for; nil where they are none in this encoding.
    func decode(_ bytes: some Collection<UInt8>) -> String? {
        guard let converter = unsafe converter, bytes.contains(where: { $0 >= 0x80 }) else {
            return String(validating: bytes, as: UTF8.self)
        }
        var input = bytes.map { CChar(bitPattern: $0) }
        // No byte stands for more than two characters of the Basic Multilingual Plane, of three bytes each.
        var output = [CChar](repeating: 0, count: input.count * 6)
        var left = input.count
        var free = output.count
        // Safe: iconv reads at most `left` bytes and writes at most `free`, and moves pointers and counts along.
        let isDone = unsafe input.withUnsafeMutableBufferPointer { input in
            unsafe output.withUnsafeMutableBufferPointer { output in
                var from = input.baseAddress
                var to = output.baseAddress
                // The first call forgets what an earlier text left; the last writes what is held back.
                unsafe _ = iconv(converter, nil, nil, nil, nil)
                return unsafe iconv(converter, &from, &left, &to, &free) != -1
                    && iconv(converter, nil, nil, &to, &free) != -1
            }
        }
        guard isDone, left == 0 else { return nil }
        return String(validating: output[..<(output.count - free)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
