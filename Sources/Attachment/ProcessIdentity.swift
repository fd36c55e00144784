import BlockImage
import Glibc
import HostStorage
import SystemPackage

/// Which process this is: numbers are given again, and then the process has another start time.
package struct ProcessIdentity: Codable, Hashable, Sendable {
    /// Its number.
    package var pid: Int32
    /// When it started, in clock ticks since the system did, as /proc/PID/stat has it.
    package var startTime: UInt64

    /// This process.
    package static let current = ProcessIdentity(running: getpid())

    /// The process `pid`; nil where none of that number runs.
    package init?(running pid: Int32) {
        guard let found = try? Self.found(pid) else { return nil }
        self = found
    }

    private init(pid: Int32, startTime: UInt64) { (self.pid, self.startTime) = (pid, startTime) }

    /// The process `pid`; nil where none of that number runs. Throws where that cannot be known.
    private static func found(_ pid: Int32) throws(ImageError) -> ProcessIdentity? {
        // The name stands in parentheses, and may have any character in it.
        guard let text = try smallFile(FilePath("/proc/\(pid)/stat")), let end = text.lastIndex(of: UInt8(ascii: ")"))
        else {
            return nil
        }
        let fields = text[(end + 1)...].split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
        // The state is the third field, the number of threads the 20th, and the start time the 22nd. A dead child that is not
        // waited for has all of them still; and while other threads of it end, its files, and locks on these, are there.
        guard fields.count > 19, fields[0] != "X", fields[0] != "Z" || (Int(fields[17]) ?? 0) > 1,
            let time = UInt64(fields[19])
        else { return nil }
        return ProcessIdentity(pid: pid, startTime: time)
    }

    /// Whether it runs still, or that cannot be known.
    package var isRunning: Bool {
        do throws(ImageError) {
            return try Self.found(pid) == self
        } catch {
            return true
        }
    }

    /// The processes of this user that run `program`, and one of whose arguments is `argument`.
    static func all(of program: ChildProgram, withArgument argument: String) -> [ProcessIdentity] {
        let wanted = argument.nameBytes
        guard let file = try? FileStatus(at: program.path).identity else { return [] }
        return numbers.compactMap { pid in
            guard pid != getpid(), user(of: pid) == geteuid(),
                (try? FileStatus(at: FilePath("/proc/\(pid)/exe")).identity) == file,
                let line = try? smallFile(FilePath("/proc/\(pid)/cmdline")),
                line.split(separator: 0).contains(wanted[...])
            else {
                return nil
            }
            return ProcessIdentity(running: pid)
        }
    }

    /// The effective user of the process `pid`; nil where that is not known.
    private static func user(of pid: Int32) -> uid_t? {
        let text = (try? smallFile(FilePath("/proc/\(pid)/status"))).map { String(decoding: $0, as: UTF8.self) }
        let line = text?.split(separator: "\n").first { $0.hasPrefix("Uid:") }
        // The real one is the first.
        return line?.split(whereSeparator: \.isWhitespace).dropFirst(2).first.flatMap { uid_t($0) }
    }

    /// The numbers of all processes.
    static var numbers: [Int32] {
        ((try? FolderListing("/proc"))?.entries ?? []).compactMap { Int32(String(decoding: $0.name, as: UTF8.self)) }
    }

    /// What it is called, for messages.
    static func name(of pid: Int32) -> String {
        (try? smallFile(FilePath("/proc/\(pid)/comm"))).map {
            String(decoding: $0.filter { $0 >= 0x20 }, as: UTF8.self)
        } ?? "?"
    }

    /// Has it end: by SIGTERM, and where it does not for `patience`, by SIGKILL. Answers whether it is gone.
    func end(patience: Duration) -> Bool {
        for signal in [SIGTERM, SIGKILL] {
            guard isRunning else { return true }
            // Another one may have the number by now, and then gets no signal.
            if ProcessIdentity(running: pid) == self { kill(pid, signal) }
            if waitForEnd(patience) { return true }
        }
        return false
    }

    /// Waits until it has ended, at most for `limit`, and answers whether it has.
    func waitForEnd(_ limit: Duration) -> Bool { waits(limit) { !isRunning } }
}

/// Waits until `condition` holds, at most for `limit`, and answers whether it does.
func waits(_ limit: Duration, for condition: () -> Bool) -> Bool {
    let start = ContinuousClock.now
    var pause: UInt32 = 500
    while !condition() {
        guard start.duration(to: .now) < limit else { return condition() }
        usleep(pause)
        pause = min(pause * 2, 50_000)
    }
    return true
}
