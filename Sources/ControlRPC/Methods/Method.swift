import BlockImage
import Catalog
import JSON

/// A method: its description, and what does it.
struct Method: Sendable {
    /// What a client calls.
    var name: String
    /// What it does, in a sentence.
    var summary: String
    /// What it takes, in the order in which it is taken without names.
    var parameters: [Parameter] = []
    /// What it answers, in a phrase.
    var result: String
    /// The JSON type of the answer.
    var resultType = "object"
    /// Whether it may take long: minutes, for a large image.
    var isLong = false
    /// Whether it is done in seconds although it may take long, because it waits for nothing.
    var isBounded = false
    /// Whether it reads images, and may have to wait for them.
    var readsImages = true
    /// How long the answer may be.
    var answerSize = AnswerSize.short
    /// Does it on a thread that may wait, and answers one line of JSON. Throws `RPCError` and `ImageError`.
    var work: @Sendable (Call) throws -> String

    /// How long an answer may be.
    enum AnswerSize: Sendable {
        /// Not long, as a rule.
        case short
        /// As long as answers may be.
        case long
        /// As many bytes as this parameter says, in base64.
        case data(Parameter)
    }

    /// What may be sent to every method that takes long.
    static let quiet = Parameter(
        name: "quiet", kind: .flag, summary: "Whether no notifications are sent of how far it is")

    /// All of what it takes.
    var allParameters: [Parameter] { isLong ? parameters + [Self.quiet] : parameters }

    /// What OpenRPC calls a method object.
    private var description: JSON {
        .object([
            "name": .string(name), "summary": .string(summary), "paramStructure": .string("either"),
            "params": .array(allParameters.map(\.descriptor)),
            "result": .object([
                "name": .string("result"), "summary": .string(result),
                "schema": .object(["type": .string(resultType)]),
            ]),
        ])
    }

    /// The OpenRPC document (specification 1.3.2) of `methods`.
    static func document(of methods: [Method], version: String) -> JSON {
        .object([
            "openrpc": .string("1.3.2"),
            "info": .object(["title": .string("rblock"), "version": .string(version)]),
            "methods": .array(methods.map(\.description)),
        ])
    }
}

/// One call of a method.
struct Call: Sendable {
    /// What it was called with.
    let arguments: Arguments
    /// The client who called.
    let session: ControlSession
    /// Hears how far it is, and knows whether the answer is still wanted.
    let request: RunningRequest

    /// The disk that is meant: the one that the client has open, or as it is now.
    func export(_ parameter: Parameter = .image) throws -> Export {
        try session.export(arguments.string(parameter))
    }

    /// The image that is meant: its name, and as it is to be opened.
    func namedImage() throws -> (name: String, image: NamedImage) {
        let name = arguments.string(.image)
        do throws(ImageError) {
            return try session.server.catalog.image(name)
        } catch {
            throw session.error(error)
        }
    }
}

extension Method {
    /// Every method, in the order in which `rpc.discover` tells of them.
    static let all: [Method] = [
        getVersion, discover, list, open, close, info, inspect, map, check, read, diff, stats, cancel, shutdown,
    ]

    private static let byName = Dictionary(all.map { ($0.name, $0) }) { first, _ in first }

    /// The method called `name`; nil where there is none.
    static func named(_ name: String) -> Method? { byName[name] }
}
