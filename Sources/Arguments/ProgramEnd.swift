import ArgumentParser
import Glibc
import SystemPackage

extension ParsableCommand {
    /// Ends the process as `exit(withError:)` does; but where help, or the version, cannot be written, says so, and ends with 1.
    package static func end(_ error: any Error) -> Never {
        guard exitCode(for: error) == .success else { exit(withError: error) }
        do {
            let text = fullMessage(for: error)
            if !text.isEmpty { try FileDescriptor.standardOutput.writeAll("\(text)\n".utf8) }
        } catch {
            let name = _commandName
            _ = try? FileDescriptor.standardError.writeAll("\(name): standard output: \(error)\n".utf8)
            Glibc.exit(1)
        }
        Glibc.exit(0)
    }
}
