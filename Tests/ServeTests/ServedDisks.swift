import Foundation
import TestImages

/// A running `rblock serve`, which ends with the last reference.
final class ServedDisks {
    /// The process.
    let process: pid_t
    /// Where JSON-RPC is spoken: the Unix socket's path, and the port of 127.0.0.1.
    let socket: String
    let port: UInt16
    /// What it says on standard error and standard output, and how it ended.
    private let state: TemporaryFolder

    /// Serves `images`, which may be folders, with these options besides.
    init(_ images: [String], options: [String] = []) throws {
        let state = try TemporaryFolder()
        self.state = state
        socket = state.file("rpc")
        try CleanUp.register("kill $(cat \"$1\") 2>/dev/null", state.file("pid"))
        // The end of the process is waited for by the shell that started it.
        let script = """
            state=$1; shift
            (bash -c 'echo $$ >"$0/pid.new"; mv "$0/pid.new" "$0/pid"; exec "$@"' "$state" "$@" \
              >"$state/out" 2>"$state/errors"; echo $? >"$state/status.new"; mv "$state/status.new" "$state/status") &
            """
        let command =
            [Tool.rblock, "serve", "--output", "json", "--rpc", "unix:\(socket)", "--rpc", "tcp:127.0.0.1:0"]
            + options + images
        let started = try Tool.run("bash", ["-c", script, "bash", state.path] + command)
        guard started.status == 0 else { throw ToolFailure(description: started.errors) }
        var addresses: JSONValue?
        _ = try TestImages.wait(seconds: 60) {
            let said = (try? Data(contentsOf: URL(fileURLWithPath: state.file("out")))) ?? Data()
            if said.last == UInt8(ascii: "\n") { addresses = try JSONValue(parsing: said) }
            return addresses != nil || FileManager.default.fileExists(atPath: state.file("status"))
        }
        let tcp = addresses?["rpc"]?.array?.compactMap(\.text).first { $0.hasPrefix("tcp:127.0.0.1:") }
        guard let tcp, let port = UInt16(tcp.dropFirst("tcp:127.0.0.1:".count)),
            let process = pid_t(try Self.content(of: state.file("pid")))
        else { throw ToolFailure(description: "rblock serve: \(try Self.content(of: state.file("errors")))") }
        self.port = port
        self.process = process
    }

    deinit {
        kill(process, SIGTERM)
        if endStatus() == nil { kill(process, SIGKILL) }
    }

    private static func content(of path: String) throws -> String {
        try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// What it said on standard error.
    var errors: String { (try? Self.content(of: state.file("errors"))) ?? "" }

    /// The status that it ends with by itself; nil where it does not.
    func endStatus(seconds: Double = 60) -> Int? {
        let status = state.file("status")
        _ = TestImages.wait(seconds: seconds) { FileManager.default.fileExists(atPath: status) }
        return (try? Self.content(of: status)).flatMap { Int($0) }
    }

    /// The most memory that it had so far, in bytes.
    func mostMemory() throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 1024
    }

    /// A new client over the Unix socket.
    func connect() throws -> LineClient { try LineClient(unix: socket) }

    /// What `rblock rpc` leaves.
    func rpc(_ arguments: String...) throws -> ToolResult { try RBlock.run(["rpc", socket] + arguments) }
}
