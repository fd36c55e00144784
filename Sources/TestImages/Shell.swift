import Foundation

/// Short scripts for tests: what people type is what is tested.
public enum Shell {
    /// Runs `script` in bash with `arguments` as $1 and so on, and answers what it left, whatever its status.
    public static func run(_ script: String, _ arguments: String..., timeout: Double = 120) throws -> ToolResult {
        try Tool.run("bash", ["-c", script, "bash"] + arguments, timeout: timeout)
    }

    /// The same for a script that must succeed: answers its standard output without the last newline. It ends at the
    /// first command that fails.
    @discardableResult
    public static func check(_ script: String, _ arguments: String..., timeout: Double = 120) throws -> String {
        try check(script, arguments: arguments, timeout: timeout)
    }

    /// The same with the arguments in an array.
    public static func check(_ script: String, arguments: [String], timeout: Double = 120) throws -> String {
        let result = try Tool.run("bash", ["-ec", script, "bash"] + arguments, timeout: timeout)
        guard result.status == 0 else {
            throw ToolFailure(
                description: "'\(script)' \(arguments) ended with \(result.status): \(result.text)\(result.errors)")
        }
        return result.text.hasSuffix("\n") ? String(result.text.dropLast()) : result.text
    }
}
