/// `text` as one word of a shell's command line, in quotation marks where it has to be.
///
/// By bytes, as the shell reads it: with a letter before it, a quotation mark may be a part of a larger `Character`.
public func shellWord(_ text: String) -> String {
    let plain = Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/@:,%+".utf8)
    guard text.isEmpty || !text.utf8.allSatisfy({ plain.contains($0) || $0 >= 0x80 }) else { return text }
    let mark = UInt8(ascii: "'")
    var word = [mark]
    for byte in text.utf8 { word += byte == mark ? Array("'\\''".utf8) : [byte] }
    return String(decoding: word + [mark], as: UTF8.self)
}
