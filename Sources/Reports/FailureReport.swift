import BlockImage

/// What `--output json` prints of an image, or of a verb, where there is no result: why.
package struct FailureReport: Encodable, Sendable {
    /// Why: what is wrong with an image, or with what was asked.
    package enum Reason: Sendable {
        case image(ImageError)
        case words(String, code: String)
    }

    private struct Words: Encodable {
        var code: String
        var message: String
    }

    private enum CodingKeys: String, CodingKey {
        case filename, format, error
        case filenameBytes = "filename-bytes"
    }

    private let filename: String?
    private let format: String?
    private let reason: Reason

    /// A failure about the image called `filename`, if about one; `format`: what it is taken for, where that is known.
    package init(filename: String? = nil, format: String? = nil, _ reason: Reason) {
        (self.filename, self.format, self.reason) = (filename, format, reason)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeIfPresent(filename, forKey: .filename)
        try container.encodeIfPresent(filename.flatMap { bytesInJSON(ofName: $0) }, forKey: .filenameBytes)
        try container.encodeIfPresent(format, forKey: .format)
        switch reason {
        case .image(let error): try container.encode(error, forKey: .error)
        case .words(let message, let code): try container.encode(Words(code: code, message: message), forKey: .error)
        }
    }
}
