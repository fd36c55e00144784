import Dispatch
import Glibc
import SystemPackage

/// Standard input and output as one connected socket, whatever they are: files, pipes, a terminal.
///
/// An event loop takes no files, and would switch what it takes to non-blocking, also for the other programs that have it
/// open. So two threads copy.
enum StandardStreams {
    /// A socket that has what comes from standard input, and whose bytes go to standard output. Its reader sees its end
    /// when standard input has ended. Throws `Errno`.
    static func connect() throws -> CInt {
        var ends: [CInt] = [-1, -1]
        // Safe: the call fills the array of two that it is given.
        let result = unsafe socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends)
        guard result == 0 else { throw Errno(rawValue: errno) }
        let (server, copy) = (ends[0], FileDescriptor(rawValue: ends[1]))
        DispatchQueue(label: "rblock.standard-input").async {
            Self.copy(from: .standardInput, to: copy)
            _ = Glibc.shutdown(copy.rawValue, CInt(SHUT_WR))
        }
        DispatchQueue(label: "rblock.standard-output").async {
            Self.copy(from: copy, to: .standardOutput)
            // No one is left to be answered.
            _ = Glibc.shutdown(copy.rawValue, CInt(SHUT_RDWR))
        }
        return server
    }

    /// Copies to the end of `source`, or until either fails.
    private static func copy(from source: FileDescriptor, to target: FileDescriptor) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            // Safe: the buffer lives during the call, which writes no more than it holds.
            let count = try? unsafe buffer.withUnsafeMutableBytes { unsafe try source.read(into: $0) }
            guard let count, count > 0, (try? target.writeAll(buffer[..<count])) != nil else { return }
        }
    }
}
