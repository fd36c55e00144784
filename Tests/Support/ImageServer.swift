import Foundation
import HostTools

/// A running `rblock serve`, which speaks NBD at a Unix socket, and JSON-RPC at another and at a port of 127.0.0.1. It ends
/// with the last reference.
package final class ImageServer: Sendable {
    /// The process.
    package let process: pid_t
    /// The path of NBD's socket.
    package let socket: String
    /// The path of JSON-RPC's socket.
    package let rpcSocket: String
    /// The port of JSON-RPC.
    package let rpcPort: UInt16
    /// What the server said of where it listens.
    package let addresses: JSONValue
    private let state: TemporaryFolder

    /// Serves `images`, which may be folders, with these options besides.
    package init(_ images: [String], options: [String] = []) throws {
        let state = try TemporaryFolder()
        self.state = state
        socket = state.file("nbd")
        rpcSocket = state.file("rpc")
        try CleanUp.register("kill -KILL $(cat \"$1\") 2>/dev/null; rm -rf \"${1%/*}\"", state.file("pid"))
        // The end of the process is waited for by the shell that started it.
        let script = """
            state=$1; shift
            (bash -c 'echo $$ >"$0/pid.new"; mv "$0/pid.new" "$0/pid"; exec "$@"' "$state" "$@" \
              >"$state/out" 2>"$state/errors"; echo $? >"$state/status.new"; mv "$state/status.new" "$state/status") &
            """
        let rpc = ["--rpc", "unix:\(rpcSocket)", "--rpc", "tcp:127.0.0.1:0"]
        let command =
            [Tool.rblock, "serve", "--output", "json", "--nbd", "unix:\(socket)"] + rpc + options + images
        _ = try Tool.run("bash", ["-c", script, "bash", state.path] + command)
        _ = try wait(seconds: 60) {
            try Self.content(of: state.file("out")).hasSuffix("\n") || Self.exists(state.file("status"))
        }
        let said = try Self.content(of: state.file("out"))
        let number = try Self.content(of: state.file("pid")).trimmingCharacters(in: .whitespacesAndNewlines)
        guard said.hasSuffix("\n"), let process = pid_t(number) else {
            throw ToolFailure(description: "rblock serve: \(try Self.content(of: state.file("errors")))")
        }
        addresses = try JSONValue(parsing: Data(said.utf8))
        self.process = process
        let tcp = addresses["rpc"]?.array?.compactMap(\.text).first { $0.hasPrefix("tcp:") }
        guard let port = tcp?.split(separator: ":").last.flatMap({ UInt16($0) }) else {
            throw ToolFailure(description: "rblock serve has no port for JSON-RPC: \(said)")
        }
        rpcPort = port
    }

    deinit {
        kill(process, SIGTERM)
        if endStatus(seconds: 30) == nil { kill(process, SIGKILL) }
    }

    private static func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    private static func content(of path: String) throws -> String {
        exists(path) ? try String(contentsOfFile: path, encoding: .utf8) : ""
    }

    /// The address of an export, as clients write it.
    package func uri(_ name: String = "") -> String { "nbd+unix:///\(name)?socket=\(socket)" }

    /// What it said on standard error.
    package var errors: String { (try? Self.content(of: state.file("errors"))) ?? "" }

    /// Has it end, as service managers do it.
    package func stop() { kill(process, SIGTERM) }

    /// The status that it ends with by itself; nil where it does not.
    package func endStatus(seconds: Double = 60) -> Int? {
        let status = state.file("status")
        _ = wait(seconds: seconds) { Self.exists(status) }
        let text = try? Self.content(of: status).trimmingCharacters(in: .whitespacesAndNewlines)
        return text.flatMap { Int($0) }
    }

    /// The most memory that it had so far, in bytes.
    package func mostMemory() throws -> Int {
        let status = try String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)
        let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
        guard let kibibytes = line.flatMap({ Int($0.filter(\.isNumber)) }) else {
            throw ToolFailure(description: "no VmHWM of \(process)")
        }
        return kibibytes * 1024
    }

    /// Whether it runs.
    package var isRunning: Bool { !Self.exists(state.file("status")) }
}
