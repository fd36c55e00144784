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
            "copy_file_range,sendfile,io_submit,io_uring_enter,link,linkat,rename,renameat,renameat2,unlink,unlinkat," \\
            "mkdir,mkdirat"
        os.execvp("strace", ["strace", "-f", "-y", "-s", "67108864", "-xx", "-e", "trace=" + calls, "-o", log] + command)
        """

    /// Runs a command on the image at `path`, and answers what it did to it. `before`: what a client asks for that does it
    /// by other means than requests to qemu-io; it is issued when the program starts, and acknowledged when it ends.
    package static func record(
        _ path: String, _ command: [String], lines: [String] = [], requests: [Request] = [], before: [Request] = []
    ) throws -> Recording {
        try record([path], command, lines: lines, requests: requests.map { [$0] }, before: before)
    }

    /// The same for a program that changes several files, and makes or removes some: those of the recording are those at
    /// `paths`, in this order. What is not there before may be a folder. `requests`: those that each line is for.
    package static func record(
        _ paths: [String], _ command: [String], lines: [String] = [], requests: [[Request]] = [],
        before: [Request] = []
    ) throws -> Recording {
        let folder = try TemporaryFolder()
        let log = "\(folder.path)/trace"
        let files = try TracedFiles(paths)
        let result = try Tool.run(
            "python3", ["-c", script, log, "\(lines.count)"] + lines + command, timeout: 120)
        guard result.status == 0 else {
            throw ToolFailure(description: "\(command): \(result.status): \(result.text) \(result.errors)")
        }
        for sign in ["failed", "error", "Invalid", "invalid"] where result.text.contains(sign) {
            throw ToolFailure(description: "\(command) \(lines): \(result.text) \(result.errors)")
        }
        let trace = try SystemCallTrace(parsing: try String(contentsOfFile: log, encoding: .utf8))
        let recording = try recording(trace, of: files, requests, before)
        try files.check(recording)
        return recording
    }

    private static func recording(
        _ trace: SystemCallTrace, of files: TracedFiles, _ requests: [[Request]], _ before: [Request]
    ) throws -> Recording {
        var recording = Recording(files.contents, isNamed: files.areThere)
        let whole = before.map { recording.issue($0.kind, $0.sectors) }
        // How many operations there were when so many calls had ended.
        var counts = [0]
        var open: [Int] = []
        var left = requests[...]
        for call in trace.calls {
            defer { counts.append(recording.operations.count) }
            if case .file(_, descriptor: 0)? = call.arguments.first, call.name == "read" {
                for request in open { recording.acknowledge(request) }
                open = (left.popFirst() ?? []).map { recording.issue($0.kind, $0.sectors) }
                continue
            }
            guard call.result >= 0 else { continue }
            for operation in try files.operations(of: call, covering: counts[call.begin]) { recording.add(operation) }
        }
        for request in whole { recording.acknowledge(request) }
        guard left.isEmpty else { throw ToolFailure(description: "\(left.count) requests were not read") }
        return recording
    }
}
