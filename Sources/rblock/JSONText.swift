import BlockImage
import FoundationEssentials

/// Writes `document` to standard output as JSON, as every verb with --output json does.
func writeJSON(_ document: some Encodable) throws {
    let output = StandardOutput()
    try output.write("\(try jsonText(document))\n")
    try output.flush()
}

/// `document` as JSON: an object over several lines, without a newline at its end.
func jsonText(_ document: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(document), as: UTF8.self).withoutRawBytes
}
