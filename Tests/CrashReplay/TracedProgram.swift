import Foundation
import HostTools

/// Records what another program does to an image, by strace.
package enum TracedProgram {
    /// A request to qemu-io.
    package struct Request: Sendable {
        package var kind: ClientRequest.Kind
        package var sectors: Range<Int>

        /// A request for `sectors`.
        package init(_ kind: ClientRequest.Kind, _ sectors: Range<Int> = 0..<0) {
            self.kind = kind
            self.sectors = sectors
        }
    }

    /// Has the system calls written down that can change a file, and those that read commands. Each line of input is one
    /// packet of a pipe, so that the program gets a line with each read, and asks for the next when it is done with it.
    private static let script = """
        import fcntl, os, sys
        log, count = sys.argv[1], int(sys.argv[2])
        lines, command = sys.argv[3:3 + count], sys.argv[3 + count:]
        reading, writing = os.pipe2(os.O_DIRECT)
        fcntl.fcntl(writing, 1031, 1 << 20)
        for line in lines:
            os.write(writing, (line + "\\n").encode())
        os.close(writing)
        os.dup2(reading, 0)
        calls = "read,pwrite64,pwritev,pwritev2,write,writev,fallocate,ftruncate,fdatasync,fsync,sync_file_range," \\
            "copy_file_range,sendfile,io_submit,io_uring_enter"
        os.execvp("strace", ["strace", "-f", "-y", "-s", "67108864", "-xx", "-e", "trace=" + calls, "-o", log] + command)
        """

    /// Runs a command on the image at `path`, and answers what it did to it. `before`: what a client asks for that does it
    /// by other means than requests to qemu-io; it is issued when the program starts, and acknowledged when it ends.
    package static func record(
        _ path: String, _ command: [String], lines: [String] = [], requests: [Request] = [], before: [Request] = []
    ) throws -> Recording {
        let folder = try TemporaryFolder()
        let log = "\(folder.path)/trace"
        let content = HostContent([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        let result = try Tool.run(
            "python3", ["-c", script, log, "\(lines.count)"] + lines + command, timeout: 120)
        guard result.status == 0 else {
            throw ToolFailure(description: "\(command): \(result.status): \(result.text) \(result.errors)")
        }
        for sign in ["failed", "error", "Invalid", "invalid"] where result.text.contains(sign) {
            throw ToolFailure(description: "\(command) \(lines): \(result.text) \(result.errors)")
        }
        let trace = try SystemCallTrace(parsing: try String(contentsOfFile: log, encoding: .utf8))
        let recording = try recording(trace, of: path, content, requests, before)
        let after = HostContent([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        guard recording.result(of: 0).digest == after.digest else {
            throw ToolFailure(description: "\(command): what was traced does not make the image that it left")
        }
        return recording
    }

    private static func recording(
        _ trace: SystemCallTrace, of path: String, _ content: HostContent, _ requests: [Request], _ before: [Request]
    ) throws -> Recording {
        var recording = Recording([content])
        let whole = before.map { recording.issue($0.kind, $0.sectors) }
        // How many operations there were when so many calls had ended.
        var counts = [0]
        var open: Int?
        var left = requests[...]
        for call in trace.calls {
            defer { counts.append(recording.operations.count) }
            if case .file(_, descriptor: 0)? = call.arguments.first, call.name == "read" {
                if let request = open { recording.acknowledge(request) }
                open = left.popFirst().map { recording.issue($0.kind, $0.sectors) }
                continue
            }
            guard call.result >= 0, call.arguments.contains(where: { $0.path == path }) else { continue }
            if call.name == "fdatasync" || call.name == "fsync" {
                recording.add(.sync(file: 0, covering: counts[call.begin]))
            } else if let change = try call.change {
                recording.add(.change(change, file: 0))
            }
        }
        for request in whole { recording.acknowledge(request) }
        guard left.isEmpty else { throw ToolFailure(description: "\(left.count) requests were not read") }
        return recording
    }
}

extension SystemCallTrace.Argument {
    fileprivate var path: String? {
        if case .file(let path, _) = self { path } else { nil }
    }

    fileprivate var number: UInt64? {
        if case .text(let text) = self { UInt64(text) } else { nil }
    }
}

extension SystemCallTrace.Call {
    /// What it did to the file; nil where it changes none.
    fileprivate var change: HostChange? {
        get throws {
            switch (name, arguments.count) {
            case ("read", _): return nil
            case ("pwrite64", 4), ("pwritev", 4), ("pwritev2", 5):
                guard case .bytes(let bytes) = arguments[1], let offset = arguments[3].number else { break }
                return .write(Array(bytes.prefix(result)), at: offset)
            case ("fallocate", 4):
                guard let offset = arguments[2].number, let count = arguments[3].number,
                    case .text(let mode) = arguments[1]
                else { break }
                let keepsSize = mode.contains("FALLOC_FL_KEEP_SIZE")
                if mode.contains("FALLOC_FL_PUNCH_HOLE") || mode.contains("FALLOC_FL_ZERO_RANGE") {
                    return keepsSize
                        ? .zero(count, at: offset) : .write(Array(repeating: 0, count: Int(count)), at: offset)
                }
                if keepsSize { return nil }
            case ("ftruncate", 2):
                if let size = arguments[1].number { return .setSize(size) }
            default: break
            }
            throw ToolFailure(description: "strace: a call that is not replayed: \(name) \(arguments)")
        }
    }
}
