import Foundation
import HostTools
import TestImages
import Testing

/// A folder of images, and of what `rblock attach` and `rblock mount` keep in mind of them. Whatever happens, nothing is
/// mounted or attached of it when the last reference is gone.
final class AttachmentFolder: Sendable {
    let folder: TemporaryFolder
    /// The folder.
    var path: String { folder.path }
    /// What the programs keep in mind lies here.
    var state: String { folder.file("run") }

    /// Unmounts and detaches all that lies in the folder $1, without the programs under test: what is mounted from devices,
    /// the devices, and what their files are in, which cannot be found by its path once that is unmounted.
    private static let clearing = """
        mounted() { awk -v p="$1/" 'index($5, p) == 1 { print $5 }' /proc/self/mountinfo | tac; }
        mounted "$1" | grep -v '/run/[^/]*/mnt$' | xargs -r -n 1 umount -l
        losetup -n -l -O NAME,BACK-FILE | awk -v p="$1/" 'index($2, p) == 1 { print $1 }' | xargs -r -n 1 losetup -d
        mounted "$1" | xargs -r -n 1 umount -l
        """

    /// Has `script` make images in it.
    init(_ script: String) throws {
        folder = try TemporaryFolder()
        try CleanUp.register(Self.clearing + "\nrm -rf --one-file-system \"$1\"", folder.path)
        try Shell.check("cd \"$1\"\n" + script, folder.path)
    }

    deinit {
        _ = try? Shell.run(Self.clearing, folder.path)
    }

    /// Runs `rblock` in the folder.
    func run(_ words: String..., arguments: [String] = []) throws -> ToolResult {
        try command(words + arguments)
    }

    /// Runs `rblock` in the folder; again where a mount namespace that another test made meanwhile has a copy of a mount, as
    /// long as that test takes.
    private func command(_ arguments: [String]) throws -> ToolResult {
        for _ in 0..<200 {
            let result = try Tool.run("env", ["RBLOCK_RUN=\(state)", Tool.rblock] + arguments, in: path)
            guard result.errors.contains("another mount namespace") else { return result }
            usleep(300_000)
        }
        throw ToolFailure(description: "\(arguments): another mount namespace has the mount for a minute")
    }

    /// Runs a verb that must succeed, and answers what it printed, without the last newline.
    @discardableResult
    func check(_ arguments: String...) throws -> String {
        let result = try command(arguments)
        guard result.status == 0 else {
            throw ToolFailure(description: "\(arguments) ended with \(result.status): \(result.errors)")
        }
        return result.text.trimmingCharacters(in: .newlines)
    }

    /// Runs `script`, which must succeed, in the folder, with rblock for $rblock.
    @discardableResult
    func shell(_ script: String, _ arguments: String...) throws -> String {
        try shell(script, arguments: arguments)
    }

    /// The same with the arguments in an array.
    func shell(_ script: String, arguments: [String]) throws -> String {
        try Shell.check(
            "cd \"$1\"; rblock=$2; export RBLOCK_RUN=\"$1/run\"; shift 2\n" + script,
            arguments: [path, Tool.rblock] + arguments)
    }

    /// What is attached.
    func list() throws -> [JSONValue] {
        try JSONValue(parsing: Data(try check("attached", "--output", "json").utf8)).array ?? []
    }

    /// Mounts, loop devices, servers and files that are left, in words; empty where there is none.
    func left() throws -> String {
        try Shell.run(
            """
            grep -F " $1/" /proc/self/mountinfo | cut -d ' ' -f 5
            losetup -n -l -O NAME,BACK-FILE | grep -F -e "$1/" -e ' /crash.qcow2/'
            pgrep -a -f "rblockfs .*$1/run/"
            ls -A "$1/run" 2>/dev/null | grep -v '^\\.lock$'
            """, path
        ).text
    }
}
