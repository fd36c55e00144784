import Testing

struct `What servers send` {
    /// Where the error is none of an image, or no client gets it.
    private static let exceptions = [
        // An error of the protocol, made for the client.
        "NBDServer/Reply.swift": "error.message.clipped()", "ControlRPC/RPCRequest.swift": "no JSON that is taken",
        // The one that the request failed with is sent instead.
        "ControlRPC/Methods/Methods+Images.swift": "\"\\(error.message)\"",
        // For the log.
        "NBDServer/Handshake.swift": ".refused(\"export",
        // Before there are clients.
        "NBDServer/TLSOptions.swift": "cannot be used as",
    ]

    /// What the user of this host reads of an error has paths and hints; clients get `text(naming:)`.
    @Test func `is made of no error as the user of this host reads it`() throws {
        let files = try Sources.files(in: "Sources").filter { ["NBDServer", "ControlRPC"].contains($0.module) }
        #expect(!files.isEmpty)
        for file in files {
            let exception = Self.exceptions.first { file.name.hasSuffix($0.key) }?.value
            for line in file.lines where !line.contains("logger.") && !line.contains("record.note") {
                let words = ["error.message", "error.description", "error.path", "error.hint", "\\(error)"]
                let isForHost = words.contains { line.contains($0) }
                #expect(!isForHost || exception.map { line.contains($0) } == true, "\(file.name): \(line)")
            }
        }
    }
}
