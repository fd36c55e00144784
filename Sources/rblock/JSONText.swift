import FoundationEssentials
import SystemPackage

/// Writes `document` to standard output as JSON, as every verb with --output json does.
func writeJSON(_ document: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let text = try encoder.encode(document)
    _ = try FileDescriptor.standardOutput.writeAll(Array(text) + [UInt8(ascii: "\n")])
}
