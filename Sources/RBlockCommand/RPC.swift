import ArgumentParser
import BlockImage
import ControlRPC
import Encryption
import JSON
import Sockets

/// `rblock rpc`: a question to a server.
struct RPC: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpc",
        abstract: "Ask a server of 'rblock serve --rpc' by JSON-RPC.",
        usage: "rblock rpc [<options>] <SOCKET> <METHOD> [<PARAMS> ...]",
        discussion: """
            SOCKET is the path of a Unix socket, unix:PATH or tcp:HOST:PORT. METHOD is one that rpc.discover lists: \
            get_version, list, info, inspect, map, check, read, diff, stats, shutdown and others. PARAMS are name=value \
            pairs, in which a value that is no JSON is a string; or one array or object of JSON.

            The result is printed as JSON, over several lines. Work that takes long shows how far it is.

            EXAMPLES
              rblock rpc /run/rblock.sock list
              rblock rpc /run/rblock.sock check image=disk.qcow2 data=true
              # parameters as JSON
              rblock rpc /run/rblock.sock read '{"offset": 4096, "length": 512}'
              # the bytes alone
              rblock rpc --raw tcp:localhost:4711 read offset=0 length=512 | xxd
              # the methods that there are
              rblock rpc /run/rblock.sock rpc.discover | jq '.methods[].name'

            EXIT STATUS
              0   done
              1   the server cannot be reached, or answered with an error
              2   --raw: zeros were written for what could not be read: only with
                  ignore-read-errors=true
              64  wrong usage

            SEE ALSO
              rblock(1), rblock-serve(1), rblock-json(5), rblock-guide(7)
            """)

    @Option(help: ArgumentHelp("human: the result over several lines; or json: in one line.", valueName: "form"))
    var output = OutputForm.human
    @Flag(help: "Write the bytes that the method read answers, and nothing else.") var raw = false
    @Flag(help: "With --raw: write them to a terminal, too.") var force = false
    @Argument(help: ArgumentHelp("Where the server listens.", valueName: "SOCKET"), completion: .file())
    var socket: String
    @Argument(help: ArgumentHelp("What is asked.", valueName: "METHOD"), completion: .rpcMethods) var method: String
    @Argument(help: ArgumentHelp("What it is asked with.", valueName: "PARAMS"), completion: .rpcParameters) var params:
        [String] = []

    /// What `result`, that of the method read, says is lost.
    private func lostRanges(of result: JSON) -> [LostRange] {
        guard case .array(let ranges)? = result.members?["lost"] else { return [] }
        return ranges.compactMap { range in
            guard case .number(let start)? = range.members?["start"], let start = UInt64(start),
                case .number(let length)? = range.members?["length"], let length = UInt64(length)
            else { return nil }
            let message = range.members?["error"]?.members?["message"]?.string ?? ""
            return LostRange(
                start: start, length: length, error: ImageError(.corrupt, about: .disk, ErrorText(message)))
        }
    }

    func validate() throws {
        if raw && method != "read" { throw ValidationError("--raw is for the method read only") }
        _ = try parsedParams()
    }

    func run() throws {
        var lost: [LostRange] = []
        try Failure.reported(as: output, inLine: true) {
            if raw, !force { try StandardOutput.refuseTerminal("a file or a pipe takes bytes") }
            let client = try RPCClient(at: address)
            let bar = ProgressBar(method)
            let result = try client.call(method, try parsedParams()) { bar.update(part: $0) }
            bar.hide()
            let printer = StandardOutput()
            if raw {
                guard let text = result.members?["data"]?.string, let data = Base64.bytes(text) else {
                    throw Failure("\(socket): \(method): the answer has no data in base64")
                }
                lost = lostRanges(of: result)
                // Safe: integers have no bytes that are not set.
                unsafe try printer.write(data.span.bytes)
            } else {
                try printer.write((output == .human ? result.textForPeople : result.text) + "\n")
            }
            try printer.flush()
        }
        guard lost.isEmpty else {
            sayLost(lost, of: socket, "could not be read, and are zeros in what was written")
            throw ExitCode(2)
        }
    }

    private var address: ListenAddress { ListenAddress(socket) ?? .unix(path: socket) }

    /// What `params` say; nil where there are none.
    private func parsedParams() throws -> JSON? {
        if params.count == 1, let first = params.first, first.hasPrefix("{") || first.hasPrefix("[") {
            do throws(JSONFault) {
                return try JSON(parsing: Array(first.utf8))
            } catch {
                throw ValidationError("PARAMS: is no JSON: \(error.description)")
            }
        }
        var members: [String: JSON] = [:]
        for pair in params {
            // By bytes: an accent after the mark makes one character of both.
            let bytes = Array(pair.utf8)
            guard let mark = bytes.firstIndex(of: UInt8(ascii: "=")), mark > 0 else {
                throw ValidationError("PARAMS: '\(pair)' must be name=value, or the only one and JSON")
            }
            let text = String(decoding: bytes[(mark + 1)...], as: UTF8.self)
            // As the server names files whose names are not UTF-8, each folder by itself.
            let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map {
                String(decoding: $0, as: UTF8.self)
            }
            let value = parts.map { $0.hasRawBytes ? printable($0) : $0 }.joined(separator: "/")
            members[String(decoding: bytes[..<mark], as: UTF8.self)] =
                (try? JSON(parsing: Array(value.utf8))) ?? .string(value)
        }
        return members.isEmpty ? nil : .object(members)
    }
}

extension ListenAddress: ExpressibleByArgument {
    /// The address that the value of an option names.
    package init?(argument: String) { self.init(argument) }
}

/// Where JSON-RPC is spoken.
enum RPCAddress: ExpressibleByArgument, CustomStringConvertible {
    case socket(ListenAddress)
    /// Standard input and output.
    case standardStreams

    init?(argument: String) {
        if argument == "stdio" {
            self = .standardStreams
        } else if let address = ListenAddress(argument) {
            self = .socket(address)
        } else {
            return nil
        }
    }

    var description: String {
        switch self {
        case .socket(let address): "\(address)"
        case .standardStreams: "stdio"
        }
    }
}
