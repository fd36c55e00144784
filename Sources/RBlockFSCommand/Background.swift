import Arguments
import CFuse3
import CLinux
import Fuse
import Glibc
import HostStorage
import SystemPackage

/// Mounting in the background: this program starts itself again in the foreground, waits until that process says
/// that its mount answers, and leaves it alone. Nothing is forked: a forked Swift program has only one of its threads.
enum Background {
    private static let readyMark: UInt8 = 1

    /// Starts the server with this process's arguments; returns when `mountpoint` answers.
    static func mount(at mountpoint: FilePath) throws(MountFailure) {
        let pipe: (readEnd: FileDescriptor, writeEnd: FileDescriptor)
        do {
            pipe = try FileDescriptor.pipe()
        } catch {
            throw MountFailure(.software, "make a pipe: \(error)")
        }
        defer { try? pipe.readEnd.close() }
        for end in [pipe.readEnd, pipe.writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
        let passed = PassedDevice(mountpoint: mountpoint.description)
        let server = try start(writingTo: pipe.writeEnd, besides: passed)
        try? pipe.writeEnd.close()
        var byte: [UInt8] = [0]
        // Safe: as many bytes as the array has. None come when the server ends, or says nothing: then it failed.
        _ = unsafe byte.withUnsafeMutableBytes { unsafe try? pipe.readEnd.read(into: $0) }
        guard byte == [readyMark] else { throw MountFailure(reportedWith: status(of: server)) }
        // What was mounted elsewhere, by another program, is not looked for.
        guard passed == nil else { return }
        var attributes = stat()
        // Safe: a string of ours, and a structure of ours.
        guard unsafe mountpoint.withPlatformString({ unsafe stat($0, &attributes) }) == 0 else {
            throw MountFailure(.software, "mounted, but \(mountpoint.text) does not answer: \(Errno(rawValue: errno))")
        }
    }

    /// Called by the server before anything else: leaves the terminal's session, and whatever else the caller had open.
    /// Locks, and pipes that another process waits on, must end with the caller.
    static func detach(keeping descriptor: CInt, _ passed: PassedDevice?) {
        setsid()
        // What is started from here, as fusermount3, must not keep the starter waiting.
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        let kept = [STDERR_FILENO, descriptor, passed?.descriptor ?? descriptor].sorted()
        for (lower, upper) in zip(kept, kept.dropFirst()) { clinux_close_between(lower + 1, upper - 1) }
        clinux_close_from(max(descriptor, passed?.descriptor ?? 0) + 1)
    }

    /// Called by the server once its mount answers: lets the first process go, and everything else of the terminal.
    static func announce(to descriptor: CInt) {
        // Safe: the paths are strings of ours.
        let null = unsafe open("/dev/null", O_RDWR)
        for standard in 0...2 as ClosedRange<CInt> { dup2(null, standard) }
        if null > 2 { close(null) }
        unsafe _ = chdir("/")
        let pipe = FileDescriptor(rawValue: descriptor)
        _ = try? pipe.writeAll([readyMark])
        try? pipe.close()
    }

    private static func start(
        writingTo ready: FileDescriptor, besides passed: PassedDevice?
    ) throws(MountFailure) -> pid_t {
        // The descriptor that the new process finds the pipe at; a device that was passed keeps its number.
        let readyDescriptor: CInt = passed?.descriptor == 3 ? 4 : 3
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe _ = posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, ready.rawValue, readyDescriptor)
        // Our own options go first: after a "--" of the user's they would be taken for arguments.
        let added = ["--foreground", "--background-fd", "\(readyDescriptor)"]
        let given = ProgramArguments.bytes
        let strings = given.prefix(1) + added.map { Array($0.utf8) } + given.dropFirst()
        // Safe: each ends in NUL.
        let arguments =
            unsafe strings.map { bytes in
                unsafe (bytes + [0]).withUnsafeBufferPointer { text in
                    unsafe text.withMemoryRebound(to: CChar.self) { unsafe strdup($0.baseAddress!) }
                }
            } + [nil]
        defer { for index in unsafe arguments.indices { unsafe free(arguments[index]) } }
        var server: pid_t = 0
        // Safe: the strings live until after the call, and the array of them ends in NULL.
        let error = unsafe posix_spawn(&server, "/proc/self/exe", &actions, nil, arguments, environ)
        guard error == 0 else { throw MountFailure(.software, "start the server: \(Errno(rawValue: error))") }
        return server
    }

    private static func status(of server: pid_t) -> Int32 {
        var status: CInt = 0
        // Safe: waitpid fills an integer of ours.
        while unsafe waitpid(server, &status, 0) < 0 && errno == EINTR {}
        let exited = status & 0x7f == 0
        return exited ? (status >> 8) & 0xff : MountFailure.Status.software.rawValue
    }
}
