import BlockImage
import CLinux
import Glibc
import HostStorage
import SystemPackage

/// A program that is run to its end.
struct ChildProgram {
    /// What it left.
    struct Result {
        /// Its exit status, or 128 and the signal that ended it.
        var status: Int32
        var output: [UInt8]
        var errors: [UInt8]

        /// What it wrote to standard error, in one line.
        var message: String {
            nameText(errors).split(separator: "\n").map { $0.drop { $0 == " " } }
                .reduce(into: "") { text, line in
                    text += text.isEmpty ? line : text.hasSuffix(".") ? " \(line)" : "; \(line)"
                }
        }
    }

    /// Where programs are looked for besides PATH, which an ordinary user's sudo(8) may have cut.
    private static let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]

    let path: FilePath

    private init(path: FilePath) { self.path = path }

    /// The program `name` of the system. Throws where it is not installed; `package`: what has it.
    init(_ name: String, package: String) throws(ImageError) {
        // Safe: getenv answers NULL or a C string, which is copied at once.
        let given = unsafe getenv("PATH").map { unsafe String(cString: $0) } ?? ""
        let folders = given.split(separator: ":").map(String.init) + Self.folders
        guard let path = folders.map({ FilePath($0).appending(name) }).first(where: Self.isProgram) else {
            throw ImageError(
                .system(errno: ENOENT), about: .named(name), "is not installed; the package \(package) has it")
        }
        self.path = path
    }

    /// The program `name` that is beside this one, or else of the system.
    init(besides name: String, package: String) throws(ImageError) {
        if let own = try? canonical("/proc/self/exe").removingLastComponent().appending(name), Self.isProgram(own) {
            self.init(path: own)
            return
        }
        try self.init(name, package: package)
    }

    private static func isProgram(_ path: FilePath) -> Bool {
        // Safe: a string of ours.
        unsafe path.withPlatformString { unsafe access($0, X_OK) } == 0
    }

    /// Runs it with `arguments`, each the text of its bytes, and nothing to read.
    func run(_ arguments: [String]) throws(ImageError) -> Result {
        let output = try pipe()
        defer { try? output.readEnd.close() }
        let errors = try pipe()
        defer { try? errors.readEnd.close() }
        let process: pid_t
        do throws(ImageError) {
            process = try start(arguments, output.writeEnd, errors.writeEnd)
        } catch {
            try? output.writeEnd.close()
            try? errors.writeEnd.close()
            throw error
        }
        try? output.writeEnd.close()
        try? errors.writeEnd.close()
        var texts: [[UInt8]] = [[], []]
        Self.read([output.readEnd, errors.readEnd], into: &texts)
        var status: CInt = 0
        // Safe: waitpid fills an integer of ours.
        while unsafe waitpid(process, &status, 0) < 0 && errno == EINTR {}
        let signal = status & 0x7f
        return Result(status: signal == 0 ? (status >> 8) & 0xff : 128 + signal, output: texts[0], errors: texts[1])
    }

    private func pipe() throws(ImageError) -> (readEnd: FileDescriptor, writeEnd: FileDescriptor) {
        do {
            let pipe = try FileDescriptor.pipe()
            for end in [pipe.readEnd, pipe.writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
            return pipe
        } catch {
            throw ImageError(
                .system(errno: ((error as? Errno) ?? .ioError).rawValue), path: path.text, "make a pipe: \(error)")
        }
    }

    /// Reads both to their ends, whichever has something.
    private static func read(_ pipes: [FileDescriptor], into texts: inout [[UInt8]]) {
        var polls = pipes.map { pollfd(fd: $0.rawValue, events: Int16(POLLIN), revents: 0) }
        var buffer = [UInt8](repeating: 0, count: 1 << 12)
        while polls.contains(where: { $0.fd >= 0 }) {
            // Safe: poll fills the array that it is given.
            let count = unsafe poll(&polls, nfds_t(polls.count), -1)
            guard count > 0 else { if errno == EINTR { continue } else { return } }
            for index in polls.indices where polls[index].revents != 0 && polls[index].fd >= 0 {
                // Safe: read writes at most as many bytes as the array has.
                let got = unsafe buffer.withUnsafeMutableBytes { unsafe try? pipes[index].read(into: $0) } ?? 0
                if got > 0 { texts[index] += buffer[..<got] } else { polls[index].fd = -1 }
            }
        }
    }

    private func start(_ arguments: [String], _ output: FileDescriptor, _ errors: FileDescriptor) throws(ImageError)
        -> pid_t
    {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, output.rawValue, STDOUT_FILENO)
        unsafe posix_spawn_file_actions_adddup2(&actions, errors.rawValue, STDERR_FILENO)
        unsafe _ = clinux_spawn_close_from(&actions, 3)
        // Safe: each ends in NUL.
        let strings =
            unsafe ([path.text] + arguments).map { argument in
                unsafe (argument.nameBytes + [0]).withUnsafeBufferPointer { text in
                    unsafe text.withMemoryRebound(to: CChar.self) { unsafe strdup($0.baseAddress!) }
                }
            } + [nil]
        defer { for index in unsafe strings.indices { unsafe free(strings[index]) } }
        var process: pid_t = 0
        // Safe: the strings live until after the call, and the array of them ends in NULL.
        let error = unsafe path.withPlatformString { program in
            unsafe posix_spawn(&process, program, &actions, nil, strings, environ)
        }
        guard error == 0 else {
            throw ImageError(.system(errno: error), path: path.text, "start it: \(Errno(rawValue: error))")
        }
        return process
    }
}
