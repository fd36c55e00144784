import BlockImage
import CLinux
import Dispatch
import Glibc
import HostStorage
import SystemPackage

/// QEMU, and what its console printed last. Ends when this process does. May be used from any thread.
final class MachineProcess: Sendable {
    /// The most of the console that is kept.
    private static let consoleLimit = 64 << 10

    private struct State {
        var process: pid_t?
        var console: [UInt8] = []
        /// As waitpid(2) has it.
        var status: CInt?
    }

    private let state = Guarded(State())
    private let ended = DispatchSemaphore(value: 0)

    private init() {}

    /// Starts `program` with `arguments`; `files` are 3 and on for it. They are closed here, also where it throws.
    static func start(
        _ program: FilePath, _ arguments: [String], files: [FileDescriptor]
    ) throws(ImageError) -> MachineProcess {
        defer { for file in files { try? file.close() } }
        let pipe: (readEnd: FileDescriptor, writeEnd: FileDescriptor)
        do {
            pipe = try FileDescriptor.pipe()
        } catch {
            throw ImageError(.system(errno: EMFILE), path: program.text, "make a pipe: \(error)")
        }
        for end in [pipe.readEnd, pipe.writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
        let machine = MachineProcess()
        let started = DispatchSemaphore(value: 0)
        let failure = Guarded<CInt>(0)
        // The kernel kills it when the thread ends that started it: that is the one that waits for its end.
        DispatchQueue(label: "machine").async {
            let process = begin(program, arguments, pipe.writeEnd, files)
            if process < 0 { failure.withLock { $0 = errno } }
            try? pipe.writeEnd.close()
            machine.state.withLock { $0.process = process < 0 ? nil : process }
            started.signal()
            machine.keepConsole(pipe.readEnd)
            try? pipe.readEnd.close()
            if process > 0 { machine.wait(for: process) }
            machine.ended.signal()
        }
        started.wait()
        let number = failure.withLock { $0 }
        guard number == 0 else {
            throw ImageError(.system(errno: number), path: program.text, "start it: \(Errno(rawValue: number))")
        }
        return machine
    }

    private static func begin(
        _ program: FilePath, _ arguments: [String], _ output: FileDescriptor, _ files: [FileDescriptor]
    ) -> pid_t {
        // Safe: strings of ours, which live until after the call, in an array that ends in NULL.
        let strings = unsafe ([program.string] + arguments).map { unsafe strdup($0) } + [nil]
        defer { for index in unsafe strings.indices { unsafe free(strings[index]) } }
        let numbers = files.map(\.rawValue)
        return unsafe program.withPlatformString { path in
            unsafe clinux_start_kept(path, strings, output.rawValue, numbers, CInt(numbers.count))
        }
    }

    private func keepConsole(_ pipe: FileDescriptor) {
        var piece = [UInt8](repeating: 0, count: 4096)
        while true {
            // Safe: read writes at most as many bytes as the array has.
            let count = unsafe piece.withUnsafeMutableBytes { unsafe try? pipe.read(into: $0) } ?? 0
            guard count > 0 else { return }
            let text = piece[..<count]
            state.withLock { state in
                state.console += text
                let over = state.console.count - Self.consoleLimit
                if over > 0 { state.console.removeFirst(over) }
            }
        }
    }

    private func wait(for process: pid_t) {
        // The number stays that of this process until it is waited for: none is killed that has taken its place.
        var information = unsafe siginfo_t()
        // Safe: both fill values of ours.
        while unsafe waitid(P_PID, id_t(process), &information, WEXITED | WNOWAIT) < 0 && errno == EINTR {}
        state.withLock { state in
            var status: CInt = 0
            while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
            (state.process, state.status) = (nil, status)
        }
    }

    /// Waits until it has ended, for `seconds`; false: it has not.
    func waitForEnd(seconds: Double) -> Bool {
        guard ended.wait(timeout: .now() + seconds) == .success else { return false }
        // For others who wait.
        ended.signal()
        return true
    }

    /// Kills it.
    func kill() {
        state.withLock { state in if let process = state.process { _ = Glibc.kill(process, SIGKILL) } }
    }

    /// Its process ID; nil when it has ended.
    var id: pid_t? { state.withLock { $0.process } }

    /// How it ended; nil: it runs.
    var status: CInt? { state.withLock { $0.status } }

    /// The last lines that its console printed; of a panic of the kernel those before its registers.
    func lastLines(_ count: Int) -> [String] {
        let bytes = state.withLock { $0.console }
        var lines = bytes.split { $0 == 10 || $0 == 13 }.map { line in
            String(decoding: line.prefix(200).map { $0 < 0x20 || $0 > 0x7e ? UInt8(ascii: "?") : $0 }, as: UTF8.self)
        }
        let isPanic: (String) -> Bool = { line in
            line.utf8.indices.contains { line.utf8[$0...].starts(with: "Kernel panic".utf8) }
        }
        if let panic = lines.lastIndex(where: isPanic) { lines.removeSubrange((panic + 1)...) }
        return Array(lines.suffix(count))
    }
}
