internal import CFuse3
import Dispatch
import Glibc
import Synchronization
import SystemPackage

/// Why a session could not be made, mounted or served.
public struct SessionError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kind of failure.
    public let errorNumber: ErrorNumber
    /// One line that says what failed, and why, in the words of libfuse or fusermount3 where they had any.
    public let message: String

    /// The message.
    public var description: String { message }

    /// An error with libfuse's lines as its message, or the system's text where there are none.
    init(_ errorNumber: ErrorNumber, subject: String, lines: [String]) {
        let reasons = lines.map { line in
            let named = ["fuse: ", "fusermount3: "].first(where: line.hasPrefix)
            return String(line.dropFirst(named?.count ?? 0))
        }
        self.errorNumber = errorNumber
        message = "\(subject): \(reasons.isEmpty ? errorNumber.description : reasons.joined(separator: "; "))"
    }
}

/// One file system, mounted at one place: made, mounted, run, in this order and each once.
///
/// `mount` and `run` belong on one thread, best the main one before others are started: from `mount` on it blocks
/// SIGTERM, SIGINT and SIGHUP for itself and for threads that it starts, so that they end `run` rather than the process.
// Safe: libfuse's session is touched by `mount` and `run` on their one thread and by the workers, as libfuse's own loop
// does; `unmount` and `stop` come from any thread and are ordered by the mutex.
@safe public final class Session: @unchecked Sendable {
    private let session: OpaquePointer
    private let box: FileSystemBox
    private let connection: UnsafeMutablePointer<cfuse3_connection>
    private let asksForPassthrough: Bool
    private let state = Mutex(State())

    private struct State {
        /// The thread that is in `run`.
        var runner: pthread_t?
        /// `stop` was called.
        var isStopping = false
        /// What is mounted: the path, and its device number, which no other mount there has.
        var mountpoint: FilePath?
        var device: String?
        /// The socket whose end the helper of `auto_unmount` waits for.
        var helper: CInt?
        /// Threads are stuck in requests, and use libfuse's session.
        var isAbandoned = false
        var passthrough: Passthrough?
        var cache: KernelCache?
    }

    /// How long requests in progress are waited for in the end: what a disk answers at all, it answers sooner.
    private static let grace = Duration.milliseconds(500)

    /// A session that is not mounted yet. `name` is what the mount table shows as its source, `subtype` makes its type
    /// "fuse.subtype". Of `mountOptions` (each as after `-o`), one that libfuse does not know is an error that names it;
    /// whatever they say, the mount is read-only unless the file system is writable. `asksForPassthrough`: the file system may want the kernel to read files
    /// by itself.
    public init(
        fileSystem: any FileSystem,
        name: String,
        subtype: String,
        mountOptions: [String],
        asksForPassthrough: Bool = false
    ) throws(SessionError) {
        box = FileSystemBox(fileSystem)
        self.asksForPassthrough = asksForPassthrough
        // Of several, the last one counts: the name may be set, the rest may not.
        let options =
            ["fsname=\(escape(name))"] + mountOptions + [
                "subtype=\(escape(subtype))", fileSystem.isWritable ? "rw" : "ro",
            ]
        // Safe: libfuse copies the strings and the table; the connection and its box live as long as the session.
        let connection = UnsafeMutablePointer<cfuse3_connection>.allocate(capacity: 1)
        var start = unsafe cfuse3_connection()
        unsafe start.file_system = Unmanaged.passUnretained(box).toOpaque()
        unsafe connection.initialize(to: start)
        unsafe self.connection = connection
        let (session, lines) = unsafe Log.collecting { () -> OpaquePointer? in
            var operations = makeOperations(isWritable: fileSystem.isWritable)
            return unsafe cfuse3_session_new(name, options.joined(separator: ","), &operations, connection)
        }
        guard let session = unsafe session else {
            unsafe connection.deallocate()
            throw SessionError(.invalidArgument, subject: "cannot mount", lines: lines)
        }
        unsafe self.session = session
        Log.write(lines)
    }

    deinit {
        unmount()
        // Safe: no thread can be in `run` when the last reference goes, so no callback will use the session or the box; but
        // for threads that are stuck, for which both stay.
        let isOver = state.withLock { $0.cache }?.end() ?? true
        guard isOver, !state.withLock({ $0.isAbandoned }) else {
            _ = unsafe Unmanaged.passRetained(box)
            return
        }
        unsafe fuse_session_destroy(session)
        unsafe connection.deallocate()
    }

    /// The absolute path of a mountpoint, without symbolic links: what the mount table will show.
    /// Throws when it is not there or is no directory. Callable from any thread, but not on a mount that this process
    /// serves.
    public static func canonicalMountpoint(_ path: FilePath) throws(SessionError) -> FilePath {
        var attributes = stat()
        // Safe: realpath returns a C string that is ours to free, or nil; lstat fills a structure of ours.
        guard let resolved = unsafe path.withPlatformString({ unsafe realpath($0, nil) }),
            unsafe lstat(resolved, &attributes) == 0
        else {
            throw SessionError(ErrorNumber(rawValue: errno), subject: path.description, lines: [])
        }
        defer { unsafe free(resolved) }
        guard attributes.st_mode & S_IFMT == S_IFDIR else {
            throw SessionError(.notDirectory, subject: path.description, lines: [])
        }
        return unsafe FilePath(platformString: resolved)
    }

    /// Mounts at a directory, through fusermount3 where the process may not mount by itself. Who uses the mount waits
    /// until `run` serves. Blocks the signals that `run` waits for, and ignores SIGPIPE. Throws with what libfuse or
    /// fusermount3 said.
    ///
    /// At "/dev/fd/N" it serves what another program has mounted, and never unmounts it (see `PassedDevice`). With the
    /// mount option `auto_unmount`, the mount goes however this process ends: a helper that fusermount3 leaves behind
    /// unmounts it, also where this process has given up the right to.
    public func mount(at mountpoint: FilePath) throws(SessionError) {
        let passed = PassedDevice(mountpoint: mountpoint.description)
        let path = try passed == nil ? Self.canonicalMountpoint(mountpoint) : mountpoint
        passed?.closeOnExec()
        _ = signal(SIGPIPE, SIG_IGN)
        let mask = StopSignals.block()
        let sockets = openSockets()
        let (error, lines) = Log.collecting { () -> CInt in
            Log.capturingStandardError {  // of fusermount3, which has no other way to say why it failed
                errno = 0
                // Safe: the session is live, and libfuse copies the path.
                guard unsafe path.withPlatformString({ unsafe fuse_session_mount(session, $0) }) != 0 else { return 0 }
                return errno == 0 ? EIO : errno
            }
        }
        guard error == 0 else {
            StopSignals.restore(mask)
            throw SessionError(ErrorNumber(rawValue: error), subject: "cannot mount on \(mountpoint)", lines: lines)
        }
        let wanted =
            (asksForPassthrough ? cfuse3_passthrough : 0) | (box.fileSystem.isWritable ? cfuse3_mapped_direct_io : 0)
        // Safe: no request was read yet. Where it fails, the session goes on, and has nothing of that.
        if wanted != 0 { unsafe _ = cfuse3_ask_for(session, connection, wanted) }
        state.withLock { state in
            guard passed == nil else { return }
            state.mountpoint = path
            state.device = MountedFileSystem(at: path)?.device
            // libfuse keeps the helper's socket to itself, and lets every program that is started later inherit it.
            state.helper = openSockets().subtracting(sockets).first
            if let helper = state.helper { _ = fcntl(helper, F_SETFD, FD_CLOEXEC) }
        }
        Log.write(lines)
    }

    /// Serves the mount with `threads` threads (at least one) until it is unmounted, `stop` is called, or SIGTERM,
    /// SIGINT or SIGHUP arrives; SIGINT and SIGHUP stay ignored if the process was started so (`nohup`). A thread that is
    /// stuck in a request gets a replacement, of which there are at most `replacements`. However it ends, nothing is
    /// mounted when it returns, but what was mounted by another program. Throws if it ended by an error.
    ///
    /// In the end, requests in progress have half a second to finish. Answers how many have not: their threads are left
    /// alone, who waits for an answer gets an error, and the process should end by `_exit`, which waits for no thread.
    ///
    /// `started` is called, on the same thread and while it is the only one, when the kernel has finished the handshake,
    /// after the file system's own `started`; where it answers false, the run ends at once. `ending` is called before
    /// the mount goes.
    @discardableResult
    public func run(
        threads: Int, replacements: Int = 0, started: () -> Bool = { true }, ending: () -> Void = {}
    ) throws(SessionError) -> Int {
        state.withLock { $0.runner = pthread_self() }
        defer {
            ending()
            state.withLock { state in
                state.runner = nil
                state.passthrough?.end()
            }
            unmount()
        }
        let (handshake, lines) = Log.collecting { () -> CInt in
            // Safe: the session is mounted, so that the kernel's first request, FUSE_INIT, is there to be read.
            unsafe cfuse3_answer_one(session)
        }
        // Safe: from here on other threads use the connection, and none changes it.
        let agreed = unsafe connection.pointee.agreed
        let passthrough = unsafe Passthrough(
            device: fuse_session_fd(session), isAgreed: agreed & cfuse3_passthrough != 0)
        unsafe connection.pointee.handshakes = 0
        // Safe: `deinit` ends it before the session goes.
        let cache = unsafe KernelCache(of: session, mapsDirectFiles: agreed & cfuse3_mapped_direct_io != 0)
        state.withLock { ($0.passthrough, $0.cache) = (passthrough, cache) }
        // libfuse ends the session by itself when it and the kernel cannot agree.
        let failed = unsafe handshake > 0 && fuse_session_exited(session) != 0 && !state.withLock { $0.isStopping }
        guard handshake >= 0, !failed else {
            let error = failed ? ErrorNumber.protocolError : ErrorNumber(rawValue: -handshake)
            throw SessionError(error, subject: "cannot serve", lines: lines)
        }
        Log.write(lines)
        guard handshake > 0 else { return 0 }
        box.fileSystem.started(passthrough, cache)
        guard started() else { return 0 }
        box.fileSystem.serving()
        let (error, stuck) = serve(threads: threads, replacements: replacements)
        if stuck > 0 { state.withLock { $0.isAbandoned = true } }
        guard error == 0 else {
            throw SessionError(ErrorNumber(rawValue: error), subject: "cannot serve", lines: [])
        }
        return stuck
    }

    /// Ends the mount: at once, or if `run` is serving it, by `stop`. Does nothing when nothing is mounted. Callable
    /// from any thread.
    public func unmount() {
        state.withLock { state in
            guard state.runner == nil else { return stop(&state) }
            let mounted = ownMount(state)
            if mounted != nil { disconnect() }
            let (_, lines) = Log.collecting {
                // Safe: nothing else uses the session: `run` is over or has not begun, and the lock keeps it out.
                unsafe fuse_session_unmount(session)
            }
            // Where this process may not unmount any more, there is a helper that may.
            if let helper = state.helper { close(helper) }
            if let mountpoint = state.mountpoint, let mounted,
                !isGone(from: mountpoint, mounted, inTime: state.helper != nil)
            {
                Log.write(lines + ["\(mountpoint) is still mounted"])
            }
            state.mountpoint = nil
            state.helper = nil
        }
    }

    /// What is mounted at the mountpoint, where that is the mount of this session; nil where it is gone.
    ///
    /// Another server may have mounted there since, and got the device number, which the kernel gives out again at once.
    /// Where the connection has ended, the mount is this session's only if it is dead.
    private func ownMount(_ state: borrowing State) -> MountedFileSystem? {
        guard let mountpoint = state.mountpoint, let mounted = MountedFileSystem(at: mountpoint),
            mounted.device == state.device
        else { return nil }
        var device = unsafe pollfd(fd: fuse_session_fd(session), events: 0, revents: 0)
        // Safe: one structure of ours.
        let isOver = unsafe poll(&device, 1, 0) == 1 && CInt(device.revents) & POLLERR != 0
        return isOver && !DeadMount.isDead(mountpoint, within: .seconds(1)) ? nil : mounted
    }

    /// Asks `run` to end, soon and without waiting for it; one that has not begun will end at once. Callable from any
    /// thread, also while answering a request.
    public func stop() {
        state.withLock { stop(&$0) }
    }

    private func stop(_ state: inout State) {
        state.isStopping = true
        // Safe: it sets a flag of the live session.
        unsafe fuse_session_exit(session)
        if let runner = state.runner {
            pthread_kill(runner, SIGTERM)
        }
    }

    /// Puts /dev/null in the place of the session's device. libfuse takes a device whose connection was aborted (through
    /// /sys/fs/fuse/connections) for one that was unmounted, and would leave the dead mount behind.
    private func disconnect() {
        // Safe: open copies the path, and the session is live.
        let null = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        unsafe _ = dup2(null, fuse_session_fd(session))
        close(null)
    }

    /// Whether a mount is gone; or `inTime`, that is as soon as the helper of `auto_unmount` has seen the end of its
    /// socket.
    private func isGone(from mountpoint: FilePath, _ mounted: MountedFileSystem, inTime: Bool) -> Bool {
        let turns = 500
        for turn in 0...turns {
            guard MountedFileSystem(at: mountpoint) == mounted else { return true }
            guard inTime, turn < turns else { break }
            usleep(10_000)
        }
        return false
    }

    /// Runs the workers until a stop signal arrives (a worker that ends by itself sends one). Answers an error number or
    /// 0, and how many workers are stuck. This is `fuse_session_loop_mt` without its weaknesses: that waits on a semaphore, and a signal that
    /// comes just before the wait, or on another thread, does not end it. A blocked signal cannot be missed. And it lets
    /// all threads wait for requests (see `ThreadPoolSize`).
    private func serve(threads: Int, replacements: Int) -> (error: CInt, stuck: Int) {
        let pool = unsafe ThreadPool(session, limit: threads, replacements: replacements)
        let error = pool.start()
        if error == 0 {
            while unsafe fuse_session_exited(session) == 0, !StopSignals.wait(for: pool.untilNextLook) { pool.look() }
        }
        unsafe fuse_session_exit(session)
        let (failure, stuck) = pool.end(within: Self.grace)
        return (max(error, failure), stuck)
    }
}

/// Protects the characters that libfuse's option parser treats as its own.
private func escape(_ value: String) -> String {
    value.unicodeScalars.reduce(into: "") { result, scalar in
        if scalar == "," || scalar == "\\" {
            result.append("\\")
        }
        result.unicodeScalars.append(scalar)
    }
}

/// The descriptors of this process that are sockets.
private func openSockets() -> Set<CInt> {
    // Safe: opendir returns a directory stream of ours, or nil, and readdir an entry that is valid until the next.
    guard let folder = unsafe opendir("/proc/self/fd") else { return [] }
    defer { unsafe _ = closedir(folder) }
    var sockets: Set<CInt> = []
    while let entry = unsafe readdir(folder) {
        let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
            unsafe String(cString: UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self))
        }
        var attributes = stat()
        guard let descriptor = CInt(name), unsafe fstat(descriptor, &attributes) == 0,
            attributes.st_mode & S_IFMT == S_IFSOCK
        else { continue }
        sockets.insert(descriptor)
    }
    return sockets
}
