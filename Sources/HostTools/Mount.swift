import Foundation
import Synchronization

extension Tool {
    /// The command under test: RBLOCKFS, or what was built beside the running test program.
    package static var rblockfs: String {
        ProcessInfo.processInfo.environment["RBLOCKFS"] ?? built("rblockfs")
    }

    /// The command `rblock`: RBLOCK, or what was built beside the running test program.
    package static var rblock: String {
        ProcessInfo.processInfo.environment["RBLOCK"] ?? built("rblock")
    }

    package static func built(_ name: String) -> String {
        let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: program).deletingLastPathComponent().appendingPathComponent(name).path
    }

    /// Whether tests can mount, and the programs `names` are there. As `areThere`, it says why not, and skips nothing
    /// in CI.
    package static func canMount(_ names: String...) -> Bool {
        guard (["fusermount3", "bash", rblockfs] + names).allSatisfy({ areThere($0) }) else { return false }
        guard access("/dev/fuse", R_OK | W_OK) == 0 else { return skip("/dev/fuse cannot be opened") }
        return true
    }

    /// The same for tests that also attach loop devices, and mount what is in them.
    package static func canUseLoopDevices(_ names: String...) -> Bool {
        guard names.allSatisfy({ areThere($0) }), canMount("losetup", "mount", "umount") else { return false }
        guard isRoot, access("/dev/loop-control", R_OK | W_OK) == 0 else {
            return skip("loop devices need root and /dev/loop-control")
        }
        return true
    }

    /// Whether the kernel has file systems of this type, by itself or in a module that it can load.
    package static func knowsFileSystem(_ type: String) -> Bool {
        func isListed() -> Bool {
            let list = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
            return list.split(separator: "\n").contains { $0.split(separator: "\t").last == Substring(type) }
        }
        if isListed() { return true }
        _ = try? run("modprobe", [type])
        return isListed()
    }

    /// Whether this process is root.
    package static var isRoot: Bool { geteuid() == 0 }

    /// Says why tests are skipped; answers whether they run all the same, as they do in CI.
    package static func skip(_ reason: String) -> Bool {
        print("skipped: \(reason)")
        return ProcessInfo.processInfo.environment["CI"] != nil
    }
}

/// A mount of rblockfs on a mountpoint of its own, and the process that serves it. Whatever happens, both are gone when
/// the last reference is.
package final class Mount: Sendable {
    /// The mountpoint.
    package let path: String
    /// The process that serves it.
    package let server: pid_t
    private let folder: TemporaryFolder
    private let isOver = Mutex(false)

    /// Mounts `images` in the background, as the command does without further options.
    package convenience init(_ images: String, options: [String] = []) throws {
        let folder = try TemporaryFolder()
        try self.init(images, options: options, at: try folder.makeFolder("mnt"), in: folder)
    }

    /// Mounts at `mountpoint`, a directory in `folder`.
    package init(_ images: String, options: [String] = [], at mountpoint: String, in folder: TemporaryFolder) throws {
        self.folder = folder
        path = mountpoint
        try Mount.register(mountpoint)
        let result = try Tool.run(Tool.rblockfs, options + [images, mountpoint], timeout: 300)
        let server = Mount.server(of: mountpoint)
        guard result.status == 0, let server else {
            _ = try? Tool.run("fusermount3", ["-u", "-z", mountpoint])
            throw ToolFailure(description: "rblockfs ended with \(result.status): \(result.errors)")
        }
        self.server = server
    }

    deinit {
        end()
    }

    /// Has the mount at `mountpoint` removed when the test process ends, in whatever way. To be called before it is
    /// mounted.
    package static func register(_ mountpoint: String) throws {
        try CleanUp.register(
            "fusermount3 -u -z \"$1\" || umount -l \"$1\"; rm -rf --one-file-system \"${1%/*}\"", mountpoint)
    }

    /// The path of a file of the mount.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// The path of an image's `disk.raw`.
    package func disk(_ image: String) -> String { "\(path)/\(image)/disk.raw" }

    /// The path of an image's `stats.json`.
    package func stats(_ image: String) -> String { "\(path)/\(image)/stats.json" }

    /// What the image's `stats.json` says now.
    package func document(_ image: String) throws -> JSONValue {
        try JSONValue(parsing: FileManager.default.contents(atPath: stats(image)) ?? Data())
    }

    /// How many files the server has open.
    package func openFiles() throws -> Int {
        let folder = "/proc/\(server)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder).count { descriptor in
            // What libdispatch waits with is no file, and comes with its first thread.
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(descriptor)")
            else { return false }
            return !target.hasPrefix("anon_inode:")
        }
    }

    /// A figure of the server's memory in KiB, by its name in /proc/PID/status, such as VmHWM.
    package func memory(_ name: String) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(server)/status", encoding: .utf8)
        let line = text.split(separator: "\n").first { $0.hasPrefix("\(name):") }
        guard let words = line?.split(separator: " ", omittingEmptySubsequences: true), words.count > 1,
            let figure = words.compactMap({ Int($0.trimmingCharacters(in: .whitespaces)) }).first
        else { throw ToolFailure(description: "no \(name) of \(server)") }
        return figure
    }

    /// Whether anything is mounted at the mountpoint.
    package var isMounted: Bool { Mount.isMounted(path) }

    /// Whether the server runs.
    package var isServing: Bool { Mount.isRunning(server) }

    /// Waits for the server to end by itself, and answers whether it did.
    package func waitForEnd(seconds: Double = 30) -> Bool {
        wait(seconds: seconds) { !isServing }
    }

    /// Unmounts as people do it; throws where that fails or the server does not end.
    package func unmount(patience seconds: Double = 30) throws {
        try Tool.check("fusermount3", "-u", path)
        guard waitForEnd(seconds: seconds) else { throw ToolFailure(description: "the server of \(path) goes on") }
    }

    private func end() {
        let wasOver = isOver.withLock { isOver in
            defer { isOver = true }
            return isOver
        }
        guard !wasOver else { return }
        if isMounted { _ = try? Tool.run("fusermount3", ["-u", "-z", path]) }
        if !waitForEnd(seconds: 5) { kill(server, SIGKILL) }
    }

    /// Whether anything is mounted at `mountpoint`, a canonical path without blanks; never touches what is there.
    package static func isMounted(_ mountpoint: String) -> Bool {
        let table = (try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)) ?? ""
        return table.split(separator: "\n").contains { line in
            let fields = line.split(separator: " ")
            return fields.count > 4 && fields[4] == mountpoint
        }
    }

    /// The rblockfs that serves `mountpoint`, an argument of its command line.
    package static func server(of mountpoint: String) -> pid_t? {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.compactMap { pid_t($0) }.first { process in
            let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") ?? Data()
            let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            return words.first?.hasSuffix("rblockfs") == true && words.contains("--foreground")
                && words.contains(mountpoint)
        }
    }

    /// Whether the process runs; one that has ended, and that was not waited for yet, does not.
    package static func isRunning(_ process: pid_t) -> Bool {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return false }
        // The state follows the name in parentheses, which may hold anything.
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].dropFirst(2).split(separator: " ")
        guard let state = fields.first, state != "X" else { return false }
        // Where its first thread has ended, others may still be about to close its files.
        return state != "Z" || fields.count > 17 && (Int(fields[17]) ?? 0) > 1
    }
}

/// Looks until `condition` holds, for at most so many seconds; answers whether it came to hold.
package func wait(seconds: Double, for condition: () throws -> Bool) rethrows -> Bool {
    let end = Date.now.addingTimeInterval(seconds)
    while true {
        if try condition() { return true }
        guard Date.now < end else { return false }
        usleep(20_000)
    }
}
