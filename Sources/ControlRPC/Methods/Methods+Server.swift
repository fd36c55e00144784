import ImageFormats
import JSON

/// What is asked of the server itself.
extension Method {
    static let getVersion = Method(
        name: "get_version", summary: "Tells which program this is.", result: "The program's name and version",
        readsImages: false
    ) { _ in
        JSON.object(["name": .string("rblock"), "version": .string(rblockVersion)]).text
    }

    static let discover = Method(
        name: "rpc.discover", summary: "Tells of every method, as OpenRPC has it.", result: "An OpenRPC document",
        readsImages: false
    ) { _ in
        document(of: all, version: rblockVersion).text
    }

    static let stats = Method(
        name: "stats", summary: "Tells what the server was asked for so far.", result: "The figures", readsImages: false
    ) { call in
        let figures = call.session.server.figures
        return JSON.object([
            "version": .string(rblockVersion),
            "uptime-seconds": .count(call.session.server.started.duration(to: .now).components.seconds),
            "connections": .count(figures.connections), "requests": .count(figures.requests),
            "errors": .count(figures.errors), "calls": .object(figures.calls.mapValues { .count($0) }),
            "bytes-read": .count(figures.bytesRead), "waiting-bytes": .count(figures.waitingBytes),
        ]).text
    }

    private static let cancelledID = Parameter(
        name: "id", kind: .id, isRequired: true, summary: "The id of a request of the same connection")

    static let cancel = Method(
        name: "cancel",
        summary: "Has a request end that is under way: it is answered with the error that it was cancelled.",
        parameters: [cancelledID], result: "Whether there was such a request", resultType: "boolean",
        readsImages: false
    ) { call in
        "\(call.session.cancel(call.arguments[cancelledID] ?? .null))"
    }

    static let shutdown = Method(
        name: "shutdown",
        summary: "Ends the server, NBD as well, once what is under way is answered. Not over TCP.",
        result: "Always true", resultType: "boolean", readsImages: false
    ) { call in
        guard call.session.isLocal else {
            throw RPCError(.denied, "shutdown: only over a Unix socket or standard input, and this came over TCP")
        }
        call.session.server.shutdown()
        return "true"
    }
}
