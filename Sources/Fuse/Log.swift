internal import CFuse3
import Glibc
import Synchronization

/// libfuse's messages: gathered into whole lines, and handed to one handler for the whole process.
public enum Log {
    /// Sets who gets each line, without its newline, on the thread that caused it; several threads may call at once.
    /// Until it is set, lines go to standard error. Callable from any thread.
    public static func setHandler(_ handler: @escaping @Sendable (String) -> Void) {
        state.withLock { $0.handler = handler }
    }

    private struct State {
        var handler: @Sendable (String) -> Void = writeToStandardError
        /// Lines that have begun, by the thread that writes them: libfuse logs in fragments.
        var unfinished: [pthread_t: String] = [:]
        /// Lines that a thread collects for itself.
        var collected: [pthread_t: [String]] = [:]
    }

    private static let state = Mutex(State())

    /// Runs `body` and returns what the calling thread logged meanwhile, instead of handing it to the handler.
    static func collecting<Result>(_ body: () -> Result) -> (result: Result, lines: [String]) {
        attach()
        let thread = pthread_self()
        state.withLock { $0.collected[thread] = [] }
        let result = body()
        let lines = state.withLock { state in
            (state.collected.removeValue(forKey: thread) ?? [])
                + [state.unfinished.removeValue(forKey: thread)].compactMap(\.self)
        }
        return (result, lines)
    }

    /// Runs `body` and logs what this process, and programs that it runs meanwhile, write to standard error: at most a
    /// pipe's capacity (64 KiB; more is lost, and nothing waits). Without a pipe, standard error stays as it is.
    static func capturingStandardError<Result>(_ body: () -> Result) -> Result {
        var ends: [CInt] = [-1, -1]
        let saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
        defer { close(saved) }
        // Safe: pipe writes two integers into an array of two.
        guard saved >= 0, unsafe pipe(&ends) == 0 else { return body() }
        defer {
            close(ends[0])
            close(ends[1])
        }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        dup2(ends[1], STDERR_FILENO)
        let result = body()
        dup2(saved, STDERR_FILENO)
        append(String(decoding: readAll(ends[0]), as: UTF8.self))
        return result
    }

    /// Hands lines to the handler.
    static func write(_ lines: [String]) {
        let handler = state.withLock { $0.handler }
        lines.forEach(handler)
    }

    /// Makes libfuse log here.
    private static func attach() {
        // Safe: the function captures nothing and stays.
        unsafe fuse_set_log_func { _, format, arguments in
            let previous = errno
            guard let format = unsafe format, let arguments = unsafe arguments else { return }
            unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 8192) { buffer in
                // Safe: vsnprintf ends what it writes with NUL, within the buffer; the arguments fit the format.
                guard unsafe vsnprintf(buffer.baseAddress, buffer.count, format, arguments) >= 0 else { return }
                unsafe Log.append(String(cString: buffer.baseAddress!))
            }
            errno = previous
        }
    }

    private static func append(_ fragment: String) {
        let thread = pthread_self()
        let lines = state.withLock { state in
            var lines = ((state.unfinished.removeValue(forKey: thread) ?? "") + fragment)
                .split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map(String.init)
            if let rest = lines.popLast(), !rest.isEmpty {
                state.unfinished[thread] = rest
            }
            guard state.collected[thread] == nil else {
                state.collected[thread]?.append(contentsOf: lines)
                return [String]()
            }
            return lines
        }
        write(lines)
    }
}

@Sendable private func writeToStandardError(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    // Safe: write reads `count` bytes of an array that lives during the call.
    unsafe _ = bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// Reads from a descriptor until it has no more to give: its end, an error, or (if non-blocking) nothing for now.
func readAll(_ descriptor: CInt) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16384)
    while true {
        // Safe: read writes at most `count` bytes into an array of that size.
        let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return bytes }
        bytes.append(contentsOf: buffer[..<count])
    }
}
