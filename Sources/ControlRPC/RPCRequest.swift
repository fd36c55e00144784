import JSON
/// What a client asks for: JSON-RPC 2.0, "Request object".
struct RPCRequest: Hashable, Sendable {
    /// The longest id that is taken, in bytes: it is sent back with every answer.
    static let idLimit = 1024

    /// What the answer is to have: a string, a number or null; nil: a notification, which is not answered.
    var id: JSON?
    /// The name of the method.
    var method: String
    /// What it is called with: an array or an object.
    var params: JSON?

    /// An answer instead of a request.
    struct Refusal: Error, Hashable {
        var id: JSON
        var error: RPCError
    }

    /// The request that `value` is. The member `jsonrpc` may be missing, and must be "2.0" where it is there; members of
    /// other names are ignored.
    init(_ value: JSON) throws(Refusal) {
        guard case .object(let members) = value else {
            throw Refusal(id: .null, error: RPCError(.invalidRequest, "a request must be an object"))
        }
        var id: JSON?
        switch members["id"] {
        case .string(let text)? where text.utf8.count <= Self.idLimit: id = .string(text)
        case .number(let text)? where text.utf8.count <= Self.idLimit: id = .number(text)
        case .null?: id = .null
        case nil: break
        default:
            throw Refusal(
                id: .null,
                error: RPCError(
                    .invalidRequest, "id: must be a string, a number or null, of at most \(Self.idLimit) bytes"))
        }
        func refuse(_ message: String) -> Refusal {
            Refusal(id: id ?? .null, error: RPCError(.invalidRequest, message))
        }
        if let version = members["jsonrpc"], version != .string("2.0") {
            throw refuse("jsonrpc: must be \"2.0\" where it is there")
        }
        guard case .string(let method)? = members["method"] else { throw refuse("method: must be a string") }
        switch members["params"] {
        case .array?, .object?, nil: params = members["params"]
        default: throw refuse("params: must be an array or an object")
        }
        self.id = id
        self.method = method
    }
}

/// What one line is: a request, or a batch of them.
enum RPCMessage: Hashable, Sendable {
    /// The most requests of a batch.
    static let batchLimit = 1000
    /// The most values of a line.
    private static let valueLimit = 1 << 16

    case single(Result<RPCRequest, RPCRequest.Refusal>)
    case batch([Result<RPCRequest, RPCRequest.Refusal>])

    /// What the line `bytes` is. What is wrong with it becomes a request that is refused.
    init(_ bytes: [UInt8]) {
        let value: JSON
        do throws(JSONFault) {
            value = try JSON(parsing: bytes, valueLimit: Self.valueLimit)
        } catch {
            self = .refused(RPCError(.parseError, "the request is no JSON that is taken: \(error.description)"))
            return
        }
        guard case .array(let elements) = value else {
            self = .single(Self.request(value))
            return
        }
        guard !elements.isEmpty, elements.count <= Self.batchLimit else {
            self = .refused(
                RPCError(
                    .invalidRequest, "a batch of \(elements.count) requests: must have 1 to \(Self.batchLimit)"))
            return
        }
        self = .batch(elements.map(Self.request))
    }

    /// A line that is answered with `error`, as no request can be made out.
    static func refused(_ error: RPCError) -> RPCMessage {
        .single(.failure(RPCRequest.Refusal(id: .null, error: error)))
    }

    private static func request(_ value: JSON) -> Result<RPCRequest, RPCRequest.Refusal> {
        do throws(RPCRequest.Refusal) {
            return .success(try RPCRequest(value))
        } catch {
            return .failure(error)
        }
    }
}

/// The texts that are sent: each one line, without its end.
enum RPCAnswer {
    /// The answer to the request `id`; `result` is JSON.
    static func text(_ result: Result<String, RPCError>, to id: JSON) -> String {
        switch result {
        case .success(let text): "{\"jsonrpc\":\"2.0\",\"id\":\(id.text),\"result\":\(text)}"
        case .failure(let error): "{\"jsonrpc\":\"2.0\",\"id\":\(id.text),\"error\":\(error.json.text)}"
        }
    }

    /// A notification of how far the request `id` is, from 0 to 1.
    static func progress(_ part: Double, of id: JSON) -> String {
        // At most four digits, so that no number has an exponent.
        let digits = "\(10000 + Int(min(max(part.isNaN ? 0 : part, 0), 1) * 10000))"
        let text = digits.hasPrefix("2") ? "1" : "0.\(digits.dropFirst())"
        return "{\"jsonrpc\":\"2.0\",\"method\":\"progress\",\"params\":{\"id\":\(id.text),\"part\":\(text)}}"
    }
}
