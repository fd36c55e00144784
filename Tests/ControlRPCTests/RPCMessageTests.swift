import HostTools
import JSON
import TestImages
import Testing

@testable import ControlRPC

struct `Messages of JSON-RPC` {
    private func requests(_ text: String) -> [Result<RPCRequest, RPCRequest.Refusal>] {
        switch RPCMessage(Array(text.utf8)) {
        case .single(let request): [request]
        case .batch(let requests): requests
        }
    }

    private func refusal(_ text: String) -> RPCRequest.Refusal? {
        if case .failure(let refusal)? = requests(text).first { refusal } else { nil }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `whatever bytes come, they are requests or refused`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let message = Array("[{\"jsonrpc\":\"2.0\",\"method\":\"read\",\"params\":[0,512],\"id\":1}]".utf8)
        for _ in 0..<200 {
            var bytes = message
            for _ in 0..<3 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random)
            }
            for bytes in [bytes, (0..<64).map({ _ in .random(in: 0...255, using: &random) })] {
                guard case .single(.failure(let refusal)) = RPCMessage(bytes) else { continue }
                #expect([.parseError, .invalidRequest].contains(refusal.error.code), "seed \(seed)")
            }
        }
    }

    @Test func `a request has a method, and an id of any kind that comes back as it was sent`() throws {
        for id in ["1", "1.50", "-7e3", "123456789012345678901234567890", "\"a\\u0022b\"", "\"\"", "null"] {
            let request = try #require(requests("{\"method\":\"list\",\"id\":\(id)}").first).get()
            #expect(request.method == "list" && request.params == nil)
            let answer = RPCAnswer.text(.success("{}"), to: request.id ?? .bool(true))
            let sent = id == "\"a\\u0022b\"" ? "\"a\\\"b\"" : id
            #expect(answer == "{\"jsonrpc\":\"2.0\",\"id\":\(sent),\"result\":{}}")
        }
        #expect(try requests("{\"jsonrpc\":\"2.0\",\"method\":\"list\",\"more\":1}").first?.get().id == nil)
    }

    @Test(arguments: [
        (
            "{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\", \"baz]", RPCError.Code.parseError,
            JSON.null
        ),
        ("{\"jsonrpc\": \"2.0\", \"method\": 1, \"params\": \"bar\"}", .invalidRequest, .null),
        (
            "[{\"jsonrpc\": \"2.0\", \"method\": \"sum\", \"id\": \"1\"},{\"jsonrpc\": \"2.0\", \"method\"",
            .parseError, .null
        ),
        ("[]", .invalidRequest, .null), ("[1]", .invalidRequest, .null), ("1", .invalidRequest, .null),
        ("null", .invalidRequest, .null), ("{}", .invalidRequest, .null), ("{\"id\":7}", .invalidRequest, .number("7")),
        ("{\"method\":\"a\",\"id\":{}}", .invalidRequest, .null),
        ("{\"method\":\"a\",\"id\":true}", .invalidRequest, .null),
        ("{\"method\":\"a\",\"id\":8,\"params\":3}", .invalidRequest, .number("8")),
        ("{\"method\":\"a\",\"id\":8,\"params\":null}", .invalidRequest, .number("8")),
        ("{\"jsonrpc\":\"1.0\",\"method\":\"a\",\"id\":8}", .invalidRequest, .number("8")),
        ("{\"jsonrpc\":2.0,\"method\":\"a\",\"id\":8}", .invalidRequest, .number("8")),
    ])
    func `what is no request is refused with the code and id that the specification wants`(
        text: String, code: RPCError.Code, id: JSON
    ) {
        let refusal = refusal(text)
        #expect(refusal?.error.code == code && refusal?.id == id, "\(text): \(String(describing: refusal))")
    }

    @Test func `a batch is bounded, and each of its elements stands for itself`() {
        #expect(requests("[1,2,3]").count == 3)
        let some = requests("[{\"method\":\"a\",\"id\":1},{},{\"method\":\"b\"}]")
        #expect(some.map { (try? $0.get())?.method } == ["a", nil, "b"])
        func batch(_ count: Int) -> String { "[\(Array(repeating: "1", count: count).joined(separator: ","))]" }
        #expect(requests(batch(RPCMessage.batchLimit)).count == RPCMessage.batchLimit)
        #expect(refusal(batch(RPCMessage.batchLimit + 1))?.error.message.contains("1001") == true)
        #expect(refusal("[\(batch(70_000))]")?.error.code == .parseError)
    }

    @Test func `an id that would be long to send back is refused`() {
        let id = String(repeating: "9", count: RPCRequest.idLimit)
        #expect(refusal("{\"method\":\"a\",\"id\":\(id)}") == nil)
        #expect(refusal("{\"method\":\"a\",\"id\":\(id)9}")?.error.code == .invalidRequest)
    }

    @Test func `progress is a number of JSON from 0 to 1`() {
        for (part, text) in [(0, "0.0000"), (0.00001, "0.0000"), (0.25, "0.2500"), (0.99999, "0.9999"), (1, "1")] {
            let line = RPCAnswer.progress(part, of: .number("7"))
            #expect(line == "{\"jsonrpc\":\"2.0\",\"method\":\"progress\",\"params\":{\"id\":7,\"part\":\(text)}}")
        }
        for part in [-1, .nan, .infinity, 2] as [Double] {
            #expect(throws: Never.self) { try JSON(parsing: Array(RPCAnswer.progress(part, of: .null).utf8)) }
        }
    }
}
