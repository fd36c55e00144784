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

struct `The requests of a message` {
    private func session() throws -> (folder: TemporaryFolder, session: ControlSession) {
        let folder = try TemporaryFolder()
        try folder.write([7], to: "a.raw")
        let catalog = try ExportCatalog([NamedImage(FilePath(folder.file("a.raw")))])
        return (
            folder,
            ControlSession(
                of: ControlState(serving: catalog) {}, isLocal: true,
                AccessLog().connection(from: .standardInput, of: .jsonRPC, at: "stdio"))
        )
    }

    /// The answers to `requests` as a batch, none of which reads an image.
    private func answers(_ requests: [String], of session: ControlSession) -> [JSON] {
        let message = RPCMessage(Array("[\(requests.joined(separator: ","))]".utf8))
        let answer = Guarded("")
        MessageWork(message, of: session, by: Workers(), notify: nil).begin { made in
            answer.withLock { $0 = made?.text ?? "" }
        }
        let text = answer.withLock { $0 }
        guard case .array(let answers)? = try? JSON(parsing: Array(text.utf8), valueLimit: 1 << 20) else { return [] }
        return answers
    }

    @Test func `are answered as far as there is memory, also where it was not foreseen how much they take`() throws {
        let (folder, session) = try session()
        let requests = Array(repeating: #"{"method":"rpc.discover","id":1}"#, count: 50)
        #expect(answers(requests, of: session).allSatisfy { $0.members?["result"] != nil })
        // Other answers to the client have all of it.
        let taken = try #require(TakenMemory(UInt64(ControlSession.answerLimit), of: session.unforeseen))
        let refused = answers(requests, of: session)
        #expect(refused.count == 50 && refused.first?.members?["result"] != nil)
        #expect(refused.last?.members?["error"]?.members?["code"] == .number("-32013"))
        withExtendedLifetime((taken, folder)) {}
    }

    @Test(arguments: [
        (#"{"method":"cancel","params":[1]}"#, MessageWork.Kind.quick), ("{", .quick), (#"{"method":"none"}"#, .quick),
        (#"[{"method":"get_version"},{"method":"stats"}]"#, .quick), (#"{"method":"list"}"#, .bounded),
        (#"[{"method":"list"},{"method":"stats"}]"#, .bounded), (#"{"method":"open"}"#, .reading),
        (#"[{"method":"list"},{"method":"info"}]"#, .reading),
    ])
    func `wait for other requests only where they read images`(text: String, kind: MessageWork.Kind) throws {
        let (folder, session) = try session()
        let work = MessageWork(RPCMessage(Array(text.utf8)), of: session, by: Workers(), notify: nil)
        #expect(work.kind == kind)
        withExtendedLifetime(folder) {}
    }

    @Test func `can be cancelled before they begin, and are when the client goes`() throws {
        let (folder, session) = try session()
        guard case .single(.success(let request)) = RPCMessage(Array(#"{"method":"info","id":5}"#.utf8)) else {
            throw RPCError(.internalError, "no request")
        }
        let calls = Guarded(0)
        let first = session.begin(PreparedRequest(request), notify: nil)
        first.whenCancelled { calls.withLock { $0 += 1 } }
        #expect(session.cancel(.number("5")) && first.isCancelled && calls.withLock { $0 } == 1)
        #expect(session.end(first) && !session.end(first) && !session.cancel(.number("5")))
        let second = session.begin(PreparedRequest(request), notify: nil)
        session.end()
        #expect(second.isCancelled && session.begin(PreparedRequest(request), notify: nil).isCancelled)
        withExtendedLifetime(folder) {}
    }
}
