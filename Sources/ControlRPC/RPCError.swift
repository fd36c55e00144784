/// Why a request was not done: JSON-RPC 2.0, "Error object".
public struct RPCError: Error, Hashable, Sendable {
    /// The codes that the specification gives, and the server's own from -32000 down.
    public enum Code: Int, Sendable {
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
    }

    /// Which kind of error it is.
    public var code: Code
    /// What is wrong, in one sentence.
    public var message: String

    /// An error with one sentence of explanation.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }
}
