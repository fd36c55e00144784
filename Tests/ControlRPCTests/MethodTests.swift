import AccessLog
import BlockImage
import Catalog
import HostTools
import ImageTools
import JSON
import SystemPackage
import TestImages
import Testing

@testable import ControlRPC

struct `Methods` {
    private static let text = Parameter(name: "text", kind: .string, isRequired: true, summary: "")
    private static let number = Parameter(name: "number", kind: .count(least: 2, most: 9), summary: "")
    private static let flag = Parameter(name: "flag", kind: .flag, summary: "")

    private func take(_ sent: String?) throws(RPCError) -> Arguments {
        let json = sent.flatMap { try? JSON(parsing: Array($0.utf8)) }
        return try Arguments(json, for: [Self.text, Self.number, Self.flag])
    }

    @Test func `take what they are called with by name or in order`() throws {
        for sent in [#"{"flag":true,"text":"a","number":9}"#, #"["a",9,true]"#] {
            let arguments = try take(sent)
            #expect(arguments.string(Self.text) == "a" && arguments.count(Self.number) == 9)
            #expect(arguments.flag(Self.flag))
        }
        for sent in [#"{"text":"a"}"#, #"["a"]"#, #"["a",null]"#, #"{"text":"a","flag":null}"#] {
            let arguments = try take(sent)
            #expect(arguments.count(Self.number) == nil && !arguments.flag(Self.flag))
        }
    }

    @Test(arguments: [
        (nil, "text: is missing"), ("{}", "text: is missing"), ("[null]", "text: is missing"),
        (#"["a",1]"#, "number: is 1, and must be a whole number, without a fraction, from 2 to 9"),
        (#"["a",2.0]"#, "number: is 2.0"), (#"["a","2"]"#, #"number: is "2""#), (#"["a",-3]"#, "number: is -3"),
        (#"["a",1e0]"#, "number: is 1e0"), (#"["a",99999999999999999999999]"#, "number: is 99999999999999999999999"),
        ("[5]", "text: is 5, and must be a string"), (#"["a",2,1]"#, "flag: is 1, and must be true or false"),
        ("[[]]", "text: is an array"), (#"["a",2,true,4]"#, "there are 4 parameters, and at most 3 are taken"),
        (#"{"text":"a","txt":1}"#, #"there is no parameter "txt"; there are: text, number, flag"#),
    ])
    func `say what is wrong with what they are called with`(sent: String?, message: String) {
        let error = #expect(throws: RPCError.self) { try take(sent) }
        #expect(
            error?.code == .invalidParams && error?.message.hasPrefix(message) == true, "\(String(describing: error))")
    }

    @Test func `are in the OpenRPC document with all of their parameters, and have one name each`() throws {
        let document = Method.document(of: Method.all, version: "1").members ?? [:]
        guard case .array(let methods)? = document["methods"] else { throw RPCError(.internalError, "no methods") }
        #expect(Set(Method.all.map(\.name)).count == Method.all.count)
        #expect(methods.map { $0.members?["name"]?.string } == Method.all.map(\.name))
        for (method, told) in zip(Method.all, methods) {
            guard case .array(let params)? = told.members?["params"] else { continue }
            #expect(params.map { $0.members?["name"]?.string } == method.allParameters.map(\.name))
            #expect(Set(method.allParameters.map(\.name)).count == params.count, "\(method.name)")
            // What must be sent comes first, so that it can be sent without names.
            let required = method.allParameters.map(\.isRequired)
            #expect(required == required.sorted { $0 && !$1 }, "\(method.name)")
            #expect(method.summary.hasSuffix(".") && params.allSatisfy { $0.members?["summary"]?.string != "" })
        }
    }

    private func session(_ folder: TemporaryFolder, isLocal: Bool = true) throws -> ControlSession {
        let catalog = try ExportCatalog([NamedImage(FilePath(folder.path))])
        return ControlSession(
            of: ControlState(serving: catalog) {}, isLocal: isLocal,
            AccessLog().connection(from: .standardInput, of: .jsonRPC, at: "stdio"))
    }

    private func answer(_ session: ControlSession, _ text: String) -> String? {
        guard case .single(let request) = RPCMessage(Array(text.utf8)) else { return nil }
        return session.answer(PreparedRequest.make(request)).text
    }

    @Test func `are not begun for a client who is gone`() throws {
        let folder = try TemporaryFolder()
        let session = try session(folder)
        #expect(answer(session, #"{"method":"list","id":1}"#) == #"{"jsonrpc":"2.0","id":1,"result":[]}"#)
        session.end()
        #expect(answer(session, #"{"method":"list","id":1}"#)?.contains("\"code\":-32012") == true)
    }

    @Test func `end at the next step when they are cancelled, by the id of the request`() throws {
        let session = try session(try TemporaryFolder())
        guard case .single(.success(let request)) = RPCMessage(Array(#"{"method":"info","id":"x"}"#.utf8)) else {
            throw RPCError(.internalError, "no request")
        }
        let running = session.begin(PreparedRequest(request), notify: nil)
        #expect(answer(session, #"{"method":"cancel","params":["y"],"id":1}"#)?.contains("false") == true)
        try running.checkWanted()
        #expect(answer(session, #"{"method":"cancel","params":["x"],"id":1}"#)?.contains("true") == true)
        #expect(throws: RPCError.self) { try running.checkWanted() }
    }

    @Test func `tell how far they are, but of notifications, and not more often than they may`() {
        let lines = Guarded<[String]>([])
        let notify: @Sendable (String) -> Void = { line in lines.withLock { $0.append(line) } }
        let request = RunningRequest(id: .string("x"), interval: .zero, notify: notify)
        for part in [0, 0.5, 1] { request.report(part) }
        #expect(lines.withLock { $0 } == [0, 0.5, 1].map { RPCAnswer.progress($0, of: .string("x")) })
        RunningRequest(id: nil, interval: .zero, notify: notify).report(0.5)
        RunningRequest(id: .null, interval: .seconds(3600), notify: notify).report(0.5)
        #expect(lines.withLock { $0.count } == 3)
    }

    @Test func `are refused where too many answers wait already`() throws {
        let session = try session(try TemporaryFolder())
        session.server.countWaiting(ControlState.waitingLimit + 1)
        #expect(answer(session, #"{"method":"list","id":1}"#)?.contains("\"code\":-32013") == true)
    }
}
