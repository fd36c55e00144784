import Foundation
import HostTools
import Synchronization

extension Tool {
    /// The file system of a folder whose files fail on demand, built beside the running test program.
    package static var faultFileSystem: String { built("rblock-faultfs") }

    /// Whether tests can have such a folder.
    package static func canFault(_ names: String...) -> Bool {
        canMount() && names.allSatisfy { areThere($0) }
    }
}

/// A view of a folder, at a path of its own, whose files hang, fail and lie on command. Whatever happens, it
/// is gone when the last reference is, and all that hangs is answered.
///
/// What hangs cannot even be killed, as on a disk that does not answer, unless it waits for the page cache, as ordinary
/// reads do: so programs that use the files must be ended after `clear`, or after this has gone.
package final class FaultFolder: Sendable {
    /// What programs do with a file.
    package enum Operation: String, Sendable {
        /// Looking it up, and asking for its attributes.
        case stat
        /// Opening it.
        case open
        /// Reading from it.
        case read
        /// Closing it (close(2), which waits for the file system's flush).
        case close
        /// Listing it, a folder.
        case list
    }

    /// What stat(2) tells of a file.
    package enum Fact: String, Sendable {
        /// st_size.
        case size
        /// st_blocks.
        case blocks
        /// st_nlink.
        case links
        /// st_mtim, its seconds.
        case mtime
        /// st_mtim, its nanoseconds, which the kernel takes only below 1,000,000,000.
        case nanoseconds
    }

    /// Where it is mounted.
    package let path: String
    private let state: TemporaryFolder
    private let process: Process
    private let input: FileHandle
    private let output: FileHandle
    private let turn = Mutex(())

    /// A view of `folder`, in which nothing fails yet.
    package init(_ folder: String) throws {
        state = try TemporaryFolder()
        path = try state.makeFolder("faults")
        try Mount.register(path)
        let (input, output) = (Pipe(), Pipe())
        process = Process()
        process.executableURL = URL(fileURLWithPath: Tool.faultFileSystem)
        process.arguments = [folder, path]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        try input.fileHandleForReading.close()
        try output.fileHandleForWriting.close()
        self.input = input.fileHandleForWriting
        self.output = output.fileHandleForReading
        guard try line() == "ready" else { throw ToolFailure(description: "rblock-faultfs does not mount \(folder)") }
    }

    deinit {
        // It ends with its input.
        try? input.close()
        let server = process.processIdentifier
        if !wait(seconds: 10, for: { !Mount.isRunning(server) }) { kill(server, SIGKILL) }
        if Mount.isMounted(path) { _ = try? Tool.run("fusermount3", ["-u", "-z", path]) }
    }

    /// The path of a file in it.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    /// From now on `operation` on the file `name` (its path in the folder; "*": on every file) hangs; of reads, those
    /// that touch `range`.
    package func hang(_ operation: Operation, of name: String, in range: Range<UInt64> = 0..<UInt64.max) throws {
        try command("hang \(operation.rawValue) 0 \(range.lowerBound) \(range.upperBound) \(name)")
    }

    /// From now on `operation` on the file `name` fails with `error`; of reads, those that touch `range`.
    package func fail(
        _ operation: Operation, of name: String, with error: CInt = EIO, in range: Range<UInt64> = 0..<UInt64.max
    ) throws {
        try command("fail \(operation.rawValue) \(error) \(range.lowerBound) \(range.upperBound) \(name)")
    }

    /// From now on stat tells `value` as `fact` of the file `name`.
    package func tell(_ fact: Fact, _ value: Int64, of name: String) throws {
        try command("tell \(fact.rawValue) \(value) 0 \(UInt64.max) \(name)")
    }

    /// From now on reads of the file `name` find its end at `offset`, whatever size it is said to have.
    package func endReads(of name: String, at offset: Int64) throws {
        try command("cut read \(offset) 0 \(UInt64.max) \(name)")
    }

    /// Has everything be as it is in the folder again; what hangs is answered.
    package func clear() throws {
        try command("clear")
    }

    /// How many requests hang now.
    package func held() throws -> Int {
        try command("held")
    }

    /// Waits until at least `count` requests hang; answers whether they came to.
    package func waitForHeld(_ count: Int = 1, seconds: Double = 30) throws -> Bool {
        try wait(seconds: seconds) { try held() >= count }
    }

    @discardableResult
    private func command(_ text: String) throws -> Int {
        try turn.withLock { _ in
            try input.write(contentsOf: Data("\(text)\n".utf8))
            let answer = try line()
            guard answer.hasPrefix("ok "), let count = Int(answer.dropFirst(3)) else {
                throw ToolFailure(description: "rblock-faultfs, \(text): \(answer)")
            }
            return count
        }
    }

    /// One line of its output; empty at its end.
    private func line() throws -> String {
        var bytes: [UInt8] = []
        while let byte = try output.read(upToCount: 1)?.first, byte != UInt8(ascii: "\n") { bytes.append(byte) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
