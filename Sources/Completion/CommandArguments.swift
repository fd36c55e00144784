import ArgumentParser
import FoundationEssentials

/// What a command takes, as `--experimental-dump-help` prints it: the part of it that completions need.
struct CommandArguments: Decodable {
    /// An argument, or an option.
    struct Argument: Decodable {
        /// How it is written.
        enum Kind: String, Decodable {
            case positional, option, flag
        }

        /// One of its names, without the dashes.
        struct Name: Decodable {
            var kind: String
            var name: String

            /// As it is written.
            var text: String { (kind == "long" ? "--" : "-") + name }
        }

        /// What says which values it has: of these, one is there.
        struct Completion: Decodable {
            struct Values: Decodable {
                var values: [String]
            }

            /// What has no members that are needed.
            struct Empty: Decodable {}

            var list: Values?
            var file: Empty?
            var directory: Empty?
            var custom: Empty?
        }

        var kind: Kind
        var names: [Name]?
        var abstract: String?
        var isRepeating: Bool
        var shouldDisplay: Bool
        var completionKind: Completion?

        /// Whether `word` is one of its names.
        func isCalled(_ word: some StringProtocol) -> Bool { names?.contains { $0.text == word } == true }
    }

    private struct Command: Decodable {
        var arguments: [Argument]?
    }

    private var command: Command

    /// The arguments, in their order.
    var all: [Argument] { command.arguments ?? [] }
    /// Those that have no names.
    var positionals: [Argument] { all.filter { $0.kind == .positional } }
    /// The others.
    var options: [Argument] { all.filter { $0.kind != .positional && $0.shouldDisplay } }

    /// What `command` takes; nil where it says that in a way that is not known here.
    init?(of command: any ParsableCommand.Type) {
        guard let arguments = try? JSONDecoder().decode(Self.self, from: Data(command._dumpHelp().utf8)) else {
            return nil
        }
        self = arguments
    }
}
