import ArgumentParser
import JSON

/// What a command takes, as `--experimental-dump-help` prints it: the part of it that completions need.
struct CommandArguments {
    /// An argument, or an option.
    struct Argument {
        /// How it is written.
        enum Kind: String {
            case positional, option, flag
        }

        /// What says which values it has.
        enum Completion {
            case list([String])
            case file, directory, custom
        }

        var kind: Kind
        /// Its names, as they are written.
        var names: [String]
        var abstract: String?
        var isRepeating: Bool
        var shouldDisplay: Bool
        var completion: Completion?

        /// Whether `word` is one of its names.
        func isCalled(_ word: some StringProtocol) -> Bool { names.contains { $0 == word } }
    }

    /// The arguments, in their order.
    let all: [Argument]
    /// Those that have no names.
    var positionals: [Argument] { all.filter { $0.kind == .positional } }
    /// The others.
    var options: [Argument] { all.filter { $0.kind != .positional && $0.shouldDisplay } }

    /// What `command` takes; nil where it says that in a way that is not known here.
    init?(of command: any ParsableCommand.Type) {
        guard let help = try? JSON(parsing: Array(command._dumpHelp().utf8)), let command = help["command"] else {
            return nil
        }
        let arguments = (command["arguments"]?.elements ?? []).map(Argument.init)
        guard arguments.allSatisfy({ $0 != nil }) else { return nil }
        all = arguments.compactMap(\.self)
    }
}

extension CommandArguments.Argument {
    /// An argument as it is dumped.
    fileprivate init?(_ json: JSON) {
        guard let kind = json["kind"]?.string.flatMap(Kind.init), let isRepeating = json["isRepeating"]?.bool,
            let shouldDisplay = json["shouldDisplay"]?.bool
        else { return nil }
        (self.kind, self.isRepeating, self.shouldDisplay) = (kind, isRepeating, shouldDisplay)
        names = (json["names"]?.elements ?? []).map { name in
            (name["kind"]?.string == "long" ? "--" : "-") + (name["name"]?.string ?? "")
        }
        abstract = json["abstract"]?.string
        guard let completion = json["completionKind"]?.members?.first else { return }
        switch completion.key {
        case "list": self.completion = .list((completion.value["values"]?.elements ?? []).compactMap(\.string))
        case "file": self.completion = .file
        case "directory": self.completion = .directory
        case "custom": self.completion = .custom
        default: break
        }
    }
}
