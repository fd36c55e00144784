import BlockImage
import JSON

/// Why a request was not done: JSON-RPC 2.0, "Error object".
package struct RPCError: Error, Hashable, Sendable {
    /// The codes that the specification gives, and the server's own from -32001 down.
    package enum Code: Int, Sendable, CaseIterable {
        /// The request is no JSON.
        case parseError = -32700
        /// It is JSON, and no request.
        case invalidRequest = -32600
        /// There is no such method.
        case methodNotFound = -32601
        /// The method takes other parameters.
        case invalidParams = -32602
        /// The server's own fault.
        case internalError = -32603
        /// The bytes of an image contradict its format.
        case corrupt = -32001
        /// An image needs something that this program does not do.
        case unsupported = -32002
        /// A file ends before what the image says it holds.
        case truncated = -32003
        /// An image names a file that it may not make this process open; or the method is not for this client.
        case denied = -32004
        /// Something outside of the disk was asked for.
        case outOfRange = -32005
        /// The operating system said no.
        case system = -32006
        /// Nothing of this name is served.
        case noSuchImage = -32010
        /// The answer has more bytes than are sent at once.
        case answerTooLong = -32011
        /// Whoever asked for it wants it no more.
        case cancelled = -32012
        /// Too much is under way already.
        case busy = -32013
    }

    /// Which kind of error it is.
    package var code: Code
    /// What is wrong, in one sentence.
    package var message: String
    /// More of it, for programs: of what is wrong with an image `kind`, `path`, and where they are known `offset` and
    /// `errno`.
    package var data: JSON?

    /// An error with one sentence of explanation.
    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// What is wrong with an image, for a client who knows files by the names of `naming`, and gets no hint.
    package init(_ error: ImageError, naming: any PathNaming) {
        var data: [String: JSON] = [
            "kind": .string(error.code.name), "path": .string(error.subject.text(naming: naming)),
        ]
        if let offset = error.offset { data["offset"] = .count(offset.rawValue) }
        switch error.code {
        case .corrupt: code = .corrupt
        case .unsupported: code = .unsupported
        case .truncated: code = .truncated
        case .denied: code = .denied
        case .outOfRange: code = .outOfRange
        case .system(let errno):
            code = .system
            data["errno"] = .count(errno)
        }
        message = error.text.text(naming: naming)
        self.data = .object(data)
    }

    /// As it is sent.
    var json: JSON {
        var members: [String: JSON] = ["code": .count(code.rawValue), "message": .string(message)]
        members["data"] = data
        return .object(members)
    }
}
