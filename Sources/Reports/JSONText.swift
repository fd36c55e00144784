import BlockImage
import ByteFormat
import FoundationEssentials

/// The version of the form that documents have, which they state as `schema`: another one where members lose their meaning.
package let schemaVersion = 1

/// A document with the version of its form.
private struct Versioned<Content: Encodable>: Encodable {
    private enum CodingKeys: String, CodingKey {
        case schema
    }

    let content: Content

    func encode(to encoder: any Encoder) throws {
        try content.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(schemaVersion, forKey: .schema)
    }
}

/// `document` as JSON, with its `schema`: an object over several lines, without a newline at its end.
package func jsonText(_ document: some Encodable) throws -> String {
    try text(of: Versioned(content: document), .prettyPrinted)
}

/// An array of documents, each with its `schema`.
package func jsonText(_ documents: [some Encodable]) throws -> String {
    try text(of: documents.map { Versioned(content: $0) }, .prettyPrinted)
}

/// `document` in one line; paths are called what `naming` says.
package func jsonLine(_ document: some Encodable, naming: (any PathNaming)? = nil) throws -> String {
    try text(of: Versioned(content: document), [], naming)
}

/// An array of documents in one line.
package func jsonLine(_ documents: [some Encodable], naming: (any PathNaming)? = nil) throws -> String {
    try text(of: documents.map { Versioned(content: $0) }, [], naming)
}

/// `error` as it stands in a document: an object in one line.
package func errorText(_ error: ImageError, naming: (any PathNaming)? = nil) -> String {
    (try? text(of: error, [], naming)) ?? "null"
}

private func text(
    of document: some Encodable, _ form: JSONEncoder.OutputFormatting, _ naming: (any PathNaming)? = nil
) throws -> String {
    let encoder = JSONEncoder()
    if let naming, let key = CodingUserInfoKey.pathNaming { encoder.userInfo[key] = naming }
    encoder.outputFormatting = form.union([.sortedKeys, .withoutEscapingSlashes])
    return withoutControls(String(decoding: try encoder.encode(document), as: UTF8.self).withoutRawBytes)
}

/// `json` with what would steer a terminal that the text is shown on written as `\u009b`: Foundation's encoder leaves DEL and
/// the control characters from U+0080 on as they are. They stand in strings only.
private func withoutControls(_ json: String) -> String {
    guard json.unicodeScalars.contains(where: { (0x7f...0x9f).contains($0.value) }) else { return json }
    var result = ""
    for scalar in json.unicodeScalars {
        if (0x7f...0x9f).contains(scalar.value) {
            result += "\\u" + hexDigits(scalar.value, 4)
        } else {
            result.unicodeScalars.append(scalar)
        }
    }
    return result
}

/// `text` as a string of JSON, for documents that are written piece by piece, as their lists may be of any length.
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
