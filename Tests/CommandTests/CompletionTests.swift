import Foundation
import HostTools
import TestImages
import Testing

@Suite(.enabled(if: Tool.areThere("bash")))
struct `Help and completions` {
    static let commands = [Tool.rblock, Tool.rblockfs]

    /// The script that completes `command` in `shell`.
    private func script(_ command: String, _ shell: String) throws -> String {
        String(decoding: try Tool.check(command, "--generate-completion-script", shell), as: UTF8.self)
    }

    @Test(arguments: commands)
    func `every shell takes its completion script`(command: String) throws {
        let folder = try TemporaryFolder()
        for shell in ["bash", "zsh", "fish"] where Tool.areThere(shell) {
            let path = try folder.write(Array(try script(command, shell).utf8), to: "completion.\(shell)")
            let result = try Tool.run(shell, ["-n", path])
            #expect(result.status == 0 && result.errors == "", "\(shell): \(result.errors)")
        }
        #expect(
            try script(command, "bash") == Shell.check(
                "SHELL=/bin/bash exec \"$1\" --generate-completion-script", command) + "\n")
        #expect(
            String(decoding: try Tool.check(command, "--generate-completion-script=zsh"), as: UTF8.self).hasPrefix(
                "#compdef"))
        #expect(try Tool.run(command, ["--generate-completion-script", "tcsh"]).status == 64)
        withExtendedLifetime(folder) {}
    }

    @Test func `the help of every verb has examples and exit statuses, and it prints JSON`() throws {
        let root = try JSONValue(parsing: try Tool.check(Tool.rblock, "--experimental-dump-help"))
        let verbs = try #require(root["command", "subcommands"]?.array).filter { $0["commandName"]?.text != "help" }
        #expect(verbs.count >= 7)
        let overview = try RBlock.run(["--help"]).text
        for verb in verbs {
            let name = try #require(verb["commandName"]?.text)
            #expect(overview.contains("\n  rblock \(name) "), "\(name)")
            let help = try RBlock.run([name, "--help"])
            #expect(help.status == 0 && help.errors == "")
            #expect(help.text.split(separator: "\n").allSatisfy { $0.count <= 80 }, "\(name)")
            for word in ["EXAMPLES\n", "\n  rblock \(name) ", "EXIT STATUS\n", "  64  wrong usage", "--output"] {
                #expect(help.text.contains(word), "\(name): \(word)")
            }
            // Whatever is too long for a line of the terminal goes on at its start, which looks like something else.
            for title in ["EXAMPLES\n", "EXIT STATUS\n"] {
                let list = help.text.components(separatedBy: title).last?.components(separatedBy: "\n\n").first ?? ""
                let broken = list.split(separator: "\n").filter { !$0.hasPrefix("  ") }
                #expect(broken == [], "\(name): \(title)")
            }
            #expect(try RBlock.run(["help", name]).text == help.text)
            // A list, and what looks at the machine, need no argument.
            if !["attached", "doctor"].contains(name) {
                let nothing = try RBlock.run([name])
                #expect(nothing.status == 64 && nothing.output.isEmpty && nothing.errors.contains("Error: Missing"))
            }
            let arguments = verb["arguments"]?.array?.filter { $0["kind"]?.text == "positional" } ?? []
            let wrong = try RBlock.run([name, "--no-such-option"] + arguments.map { _ in name == "rpc" ? "a=1" : "1" })
            #expect(wrong.status == 64 && wrong.output.isEmpty && wrong.errors.contains("--no-such-option"))
        }
    }

    @Test func `without a verb, there is help; with a wrong one, a hint`() throws {
        let help = try RBlock.run(["--help"])
        #expect(help.status == 0 && help.text.contains("SUBCOMMANDS"))
        #expect(try RBlock.run([]).text == help.text)
        for (word, meant) in [("inof", "info"), ("mpa", "map"), ("infos", "info"), ("hepl", "help"), ("vacuum", nil)] {
            let wrong = try RBlock.run([word, "disk.raw"])
            #expect(wrong.status == 64 && wrong.output.isEmpty && wrong.errors.contains("'\(word)'"), "\(wrong.errors)")
            #expect(wrong.errors.contains("did you mean '\(meant ?? "")'?") == (meant != nil), "\(wrong.errors)")
            #expect(wrong.errors.contains("rblock --help"), "\(wrong.errors)")
        }
        let unknown = try RBlock.run(["help", "bogus"])
        #expect(unknown.status == 64 && unknown.output.isEmpty && unknown.errors.contains("no subcommand 'bogus'"))
        #expect(try RBlock.run(["help", "mpa"]).errors.contains("did you mean 'map'?"))
        #expect(try RBlock.run(["help"]).text == help.text)
    }
}
