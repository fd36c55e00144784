import BlockImage
import ControlRPC
import JSON
import Sockets
import SystemPackage

/// A connection to a server of JSON-RPC 2.0, one line a message. For use by one thread.
struct RPCClient {
    /// The most bytes of an answer: no server of ours sends a quarter of it.
    private static let lineLimit = 64 << 20
    private static let id = JSON.count(1)

    private let socket: ConnectedSocket
    private let name: String
    private let descriptor: FileDescriptor

    /// Connects to the server at `address`. Throws where no server listens there.
    init(at address: ListenAddress) throws(ImageError) {
        socket = try ConnectedSocket(to: address)
        descriptor = FileDescriptor(rawValue: socket.descriptor)
        name = "\(address)"
    }

    /// Calls `method`, and answers its result; `progress` receives how far it is, 0 to 1, where the server reports
    /// that.
    ///
    /// Throws `Failure` for an error that the server answers, and where the connection ends.
    func call(_ method: String, _ params: JSON?, progress: (Double) -> Void) throws -> JSON {
        var request: [String: JSON] = ["jsonrpc": .string("2.0"), "method": .string(method), "id": Self.id]
        request["params"] = params
        do {
            try descriptor.writeAll((JSON.object(request).text + "\n").utf8)
        } catch {
            throw Failure("\(name): write: \(error)")
        }
        var lines = LineReader(descriptor, name: name, limit: Self.lineLimit)
        while let line = try lines.next() {
            let message: JSON
            do throws(JSONFault) {
                message = try JSON(parsing: line)
            } catch {
                throw Failure("\(name): the answer is no JSON: \(error.description)")
            }
            let members = message.members ?? [:]
            if members["method"] == .string("progress"), case .number(let part)? = members["params"]?.members?["part"] {
                progress(Double(part) ?? 0)
                continue
            }
            if let error = members["error"]?.members {
                let text = error["message"]?.string ?? "an error without a message"
                throw Failure(
                    "\(name): \(method): \(text) (\(error["code"]?.text ?? "no code"))",
                    code: error["data"]?.members?["kind"]?.string)
            }
            if members["id"] == Self.id, let result = members["result"] { return result }
        }
        throw Failure("\(name): \(method): the server closed the connection without an answer")
    }
}

/// The lines that come from a descriptor.
private struct LineReader {
    private let descriptor: FileDescriptor
    private let name: String
    private let limit: Int
    private var input: [UInt8] = []
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)

    init(_ descriptor: FileDescriptor, name: String, limit: Int) {
        self.descriptor = descriptor
        self.name = name
        self.limit = limit
    }

    /// The next line without its end; nil at the end. Throws where it has more than `limit` bytes.
    mutating func next() throws -> [UInt8]? {
        var searched = 0
        while true {
            if let end = input[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { input.removeFirst(end + 1) }
                return Array(input[..<end])
            }
            searched = input.count
            guard searched <= limit else { throw Failure("\(name): the answer has more than \(limit) bytes") }
            let count: Int
            do {
                // Safe: the buffer lives during the call, which writes no more than it holds.
                count = try unsafe buffer.withUnsafeMutableBytes { unsafe try descriptor.read(into: $0) }
            } catch {
                throw Failure("\(name): read: \(error)")
            }
            guard count > 0 else { return nil }
            input += buffer[..<count]
        }
    }
}
