import BlockImage
import ByteFormat

/// `text` as a string of JSON, for documents that are written piece by piece, as their lists may be of any length.
///
/// Foundation's encoder leaves DEL and the control characters from U+0080 on as they are, and a terminal obeys them.
package func jsonString(_ text: String) -> String {
    var result = "\""
    for scalar in text.withoutRawBytes.unicodeScalars {
        switch scalar {
        case "\"", "\\": result += "\\\(scalar)"
        case "\n": result += "\\n"
        // What JSON may not have as it is, and what would steer a terminal that the text is shown on.
        case _ where scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value):
            result += "\\u" + hexDigits(scalar.value, 4)
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}
