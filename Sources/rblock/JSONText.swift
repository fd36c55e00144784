import FoundationEssentials
import SystemPackage

/// `document` as JSON, as every verb with --output json writes it.
func jsonText(_ document: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return [UInt8](try encoder.encode(document))
}

/// Writes `document` to standard output as JSON, as every verb with --output json does.
func writeJSON(_ document: some Encodable) throws {
    _ = try FileDescriptor.standardOutput.writeAll(try jsonText(document) + [UInt8(ascii: "\n")])
}
