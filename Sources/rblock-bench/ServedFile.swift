import Foundation
import TestImages

/// A flat file that is there until it is let go of: a server's, or the disk itself.
final class ServedFile {
    /// The flat file.
    let path: String
    /// Where the server has mounted it; nil: there is none, and its page cache is that of the disk.
    let mountpoint: String?

    /// The disk itself, without any server: the limit.
    init(bare path: String) {
        self.path = path
        mountpoint = nil
    }

    /// Runs `command` in the background, and waits for it to show the file `shown` of `mountpoint` with `size` bytes.
    /// Where `shown` is empty, the mountpoint is the file. Throws what the command said when it does not.
    init(_ command: [String], mountpoint: String, shown: String, size: Int) throws {
        guard let program = Tool.path(command[0]) else {
            throw ToolFailure(description: "not installed; 'make deps-bench' installs it")
        }
        self.mountpoint = mountpoint
        path = shown.isEmpty ? mountpoint : "\(mountpoint)/\(shown)"
        // The shell has written the number of the process before anything else can go wrong.
        try CleanUp.register(
            "kill $(cat \"$1.process\") || kill -9 $(cat \"$1.process\"); fusermount3 -u -z \"$1\" || umount -l \"$1\"",
            mountpoint)
        try Shell.check(shown.isEmpty ? ": >\"$1\"" : "mkdir \"$1\"", mountpoint)
        let script = """
            log="$1.log"; process="$1.process"; shift
            "$@" >"$log" 2>&1 & echo $! >"$process"
            """
        let started = try Tool.run("sh", ["-c", script, "sh", mountpoint, program] + command.dropFirst())
        guard started.status == 0 else { throw ToolFailure(description: started.errors) }
        guard isShown(size) else {
            let log = (try? String(contentsOfFile: "\(mountpoint).log", encoding: .utf8)) ?? ""
            end()
            let line = log.split(separator: "\n").last { !$0.isEmpty }.map { String($0) }
            throw ToolFailure(description: "does not open it: \(line ?? "it says nothing")")
        }
    }

    deinit {
        end()
    }

    /// Waits until the file is there.
    private func isShown(_ size: Int) -> Bool {
        // Some go to the background by themselves when all is well, and may need a moment then.
        var turnsWithout = 0
        return wait(seconds: 30) {
            if let status = try? Status(path), Int(status.size) == size { return true }
            turnsWithout += process.map { Mount.isRunning($0) } == true ? 0 : 1
            return turnsWithout > 20
        } && turnsWithout <= 20
    }

    private var process: pid_t? {
        guard let mountpoint, let text = try? String(contentsOfFile: "\(mountpoint).process", encoding: .utf8) else {
            return nil
        }
        return pid_t(text.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Ends the server and its mount; does nothing the second time.
    func end() {
        guard let mountpoint, let process else { return }
        let isGone = { !Mount.isRunning(process) }
        if !isGone() {
            kill(process, SIGTERM)
            if !wait(seconds: 10, for: isGone) { kill(process, SIGKILL) }
        }
        if Mount.isMounted(mountpoint) { _ = try? Tool.run("fusermount3", ["-u", "-z", mountpoint]) }
        try? FileManager.default.removeItem(atPath: "\(mountpoint).process")
    }

    /// Has the kernel forget what it keeps of the file, but not of the image.
    func dropCache() throws {
        guard mountpoint != nil else { return }
        let file = try OpenedFile(path)
        posix_fadvise(file.descriptor, 0, 0, POSIX_FADV_DONTNEED)
    }
}
