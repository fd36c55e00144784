import BlockImage
import ByteFormat
import JSON

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
    try text(of: Versioned(content: document), isForPeople: true)
}

/// An array of documents, each with its `schema`.
package func jsonText(_ documents: [some Encodable]) throws -> String {
    try text(of: documents.map { Versioned(content: $0) }, isForPeople: true)
}

/// `document` in one line; paths are called what `naming` says.
package func jsonLine(_ document: some Encodable, naming: (any PathNaming)? = nil) throws -> String {
    try text(of: Versioned(content: document), naming)
}

/// An array of documents in one line.
package func jsonLine(_ documents: [some Encodable], naming: (any PathNaming)? = nil) throws -> String {
    try text(of: documents.map { Versioned(content: $0) }, naming)
}

/// `error` as it stands in a document: an object in one line.
package func errorText(_ error: ImageError, naming: (any PathNaming)? = nil) -> String {
    (try? text(of: error, naming)) ?? "null"
}

private func text(
    of document: some Encodable, _ naming: (any PathNaming)? = nil, isForPeople: Bool = false
) throws -> String {
    var userInfo: [CodingUserInfoKey: Any] = [:]
    if let naming, let key = CodingUserInfoKey.pathNaming { userInfo[key] = naming }
    let json = try JSON(encoding: document, userInfo: userInfo)
    return (isForPeople ? json.textForPeople : json.text).withoutRawBytes
}

/// `text` as a string of JSON, for documents that are written piece by piece, as their lists may be of any length.
package func jsonString(_ text: String) -> String { JSON.quoted(text.withoutRawBytes) }
