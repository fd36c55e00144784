import BlockImage

/// `text` as a string of JSON, for documents that are written piece by piece, as their lists may be of any length.
public func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.withoutRawBytes.unicodeScalars {
        switch scalar {
        case "\"", "\\": result += "\\\(scalar)"
        case "\n": result += "\\n"
        // What JSON may not have as it is, and what would steer a terminal that the text is shown on.
        case _ where scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value):
            let digits = String(scalar.value, radix: 16)
            result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
