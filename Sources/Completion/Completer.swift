import ArgumentParser
import BlockImage
import Glibc
import SystemPackage

/// Answers shells that complete the command line of a program.
///
/// The scripts of ArgumentParser split words at each `=` and `@` in bash, do not know `--option=value` in bash and zsh, and
/// have bash expand whatever a program answers, so that the name of a snapshot may be a command that is run. So here the
/// program itself finds out which word is completed, and scripts of a few lines insert what it answers.
package struct Completer {
    /// The program.
    let command: any ParsableCommand.Type
    /// The verb that is meant where there is none.
    let usualVerb: (any ParsableCommand.Type)?
    /// An argument without a name that names a file, as far as it is typed.
    package struct FileWord {
        /// The verb, and which of its arguments it is.
        package let verb: String
        package let place: Int
        /// What stands in front of the last mark, a path or more, and that mark: `@`, `/` or `:`.
        package let path: String
        package let mark: Character
    }

    /// The names of the disks in a file that may follow it.
    let diskNames: @Sendable (FileWord) -> [String]

    /// One for the command line of `command`, with `usualVerb` where it names no verb. An argument that names a file may go on
    /// with an `@`, a slash or a colon and one of `diskNames` of the file.
    package init(
        _ command: any ParsableCommand.Type, usualVerb: (any ParsableCommand.Type)? = nil,
        diskNames: @escaping @Sendable (FileWord) -> [String] = { _ in [] }
    ) {
        self.command = command
        self.usualVerb = usualVerb
        self.diskNames = diskNames
    }

    /// What a word may become.
    struct Answer {
        /// Which names of files it may be.
        enum Files: String {
            case none = "words"
            case files, directories
        }

        /// Whole words, with what they mean.
        var words: [(text: String, meaning: String)] = []
        var files = Files.none
        /// How many characters of the word stand in front of the name of a file.
        var fileStart = 0
    }

    /// Ends the process with an answer, where `arguments` ask for one: `--generate-completion-script SHELL`, or as the script
    /// does, `---complete SHELL BEFORE AFTER [PART]`, with the line before and after the cursor, and the part of the word that
    /// bash replaces.
    package func answer(_ arguments: [String]) {
        if arguments.first == "---complete", arguments.count >= 4, let shell = Shell(rawValue: arguments[1]) {
            // Shells wait for it: an image on a disk that does not answer has nothing to offer. The signal ends the process,
            // since reads that wait for such a disk can be interrupted by nothing else.
            alarm(2)
            let part = arguments.count > 4 ? arguments[4] : nil
            let text = shell.text(of: complete(arguments[2], arguments[3]), line: arguments[2], part: part)
            _ = try? FileDescriptor.standardOutput.writeAll(text.utf8)
            exit(0)
        }
        if let shell = Self.shellOfScript(arguments) {
            let name = command._commandName
            do {
                try FileDescriptor.standardOutput.writeAll(shell.script(for: name).utf8)
            } catch {
                _ = try? FileDescriptor.standardError.writeAll("\(name): standard output: \(error)\n".utf8)
                exit(1)
            }
            exit(0)
        }
    }

    /// The shell that `--generate-completion-script SHELL` asks for, or the user's; nil where a script is not asked for, or
    /// for a shell that is not known here.
    private static func shellOfScript(_ arguments: [String]) -> Shell? {
        let option = "--generate-completion-script"
        let words = arguments.prefix { $0 != "--" }
        guard let place = words.firstIndex(where: { $0 == option || $0.hasPrefix("\(option)=") }) else { return nil }
        if words[place] != option { return Shell(rawValue: String(words[place].dropFirst(option.count + 1))) }
        if place + 1 < words.endIndex { return Shell(rawValue: words[place + 1]) }
        // Safe: getenv answers NULL or a C string, which is copied at once.
        let path = unsafe getenv("SHELL").map { unsafe String(cString: $0) } ?? ""
        return Shell(rawValue: String(path.split(separator: "/").last ?? ""))
    }

    /// What the word at the end of `before` may become.
    private func complete(_ before: String, _ after: String) -> Answer {
        var words = TypedWord.words(of: before)
        guard let word = words.popLast(), !words.isEmpty else { return Answer() }
        var answer: Answer
        let verbs = command.configuration.subcommands
        if verbs.isEmpty {
            answer = argument(command, word, words.dropFirst(), after)
        } else if words.count == 1 || words[1].text == "help" {
            answer = words.count < 3 ? verb(word, verbs, isFirst: words.count == 1) : Answer()
        } else if let verb = verbs.first(where: { $0._commandName == words[1].text }) {
            answer = argument(verb, word, words.dropFirst(2), after)
        } else if let usualVerb {
            answer = argument(usualVerb, word, words.dropFirst(), after)
        } else {
            answer = Answer()
        }
        answer.words = answer.words.filter {
            $0.text.utf8.starts(with: word.text.utf8) && printable($0.text) == $0.text
        }
        return answer
    }

    /// The word where a verb stands; the first may be an image as well.
    private func verb(_ word: TypedWord, _ verbs: [any ParsableCommand.Type], isFirst: Bool) -> Answer {
        var answer = Answer()
        answer.words = verbs.map { ($0._commandName, $0.configuration.abstract) }
        guard isFirst else { return answer }
        answer.words += [("help", "Show subcommand help information.")]
        if word.text.hasPrefix("-") {
            answer.words = [("--help", "Show help information."), ("--version", "Show the version.")]
        } else if !answer.words.contains(where: { $0.text.hasPrefix(word.text) }) {
            return files(word.text, usualVerb)
        }
        return answer
    }

    /// Names of files, or, where it is one of the arguments of `verb`, of disks in them.
    private func files(_ text: String, _ verb: (any ParsableCommand.Type)?, place: Int = 0) -> Answer {
        var answer = Answer()
        for mark in text.indices.dropFirst() where "@/:".contains(text[mark]) {
            guard let verb else { break }
            let path = TypedWord(text: String(text[..<mark])).expanded
            let word = FileWord(verb: verb._commandName, place: place, path: path, mark: text[mark])
            answer.words += diskNames(word).map { ("\(text[...mark])\($0)", "") }
        }
        answer.words = answer.words.filter { $0.text.utf8.starts(with: text.utf8) }
        answer.files = answer.words.isEmpty ? .files : .none
        return answer
    }

    /// The word where `verb` has its arguments, of which `words` are there already.
    private func argument(
        _ verb: any ParsableCommand.Type, _ word: TypedWord, _ words: ArraySlice<TypedWord>, _ after: String
    ) -> Answer {
        guard let arguments = CommandArguments(of: verb) else { return Answer() }
        var line = TypedLine(words, arguments)
        line.after = TypedWord.words(of: after).map(\.expanded).filter { !$0.isEmpty }
        if let option = line.pending { return value(of: option, word.text, in: line, of: verb) }
        if word.text.hasPrefix("-"), !line.isOver {
            let parts = word.text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, word.text.hasPrefix("--") else {
                return options(line, arguments, isLong: word.text != "-")
            }
            guard let option = arguments.options.first(where: { $0.kind == .option && $0.isCalled(parts[0]) }) else {
                return Answer()
            }
            var answer = value(of: option, String(parts[1]), in: line, of: verb)
            answer.words = answer.words.map { ("\(parts[0])=\($0.text)", $0.meaning) }
            answer.fileStart += parts[0].count + 1
            return answer
        }
        let positionals = arguments.positionals
        guard let last = positionals.last, line.count < positionals.count || last.isRepeating else { return Answer() }
        line.place = min(line.count, positionals.count - 1)
        return value(of: positionals[line.place], word.text, in: line, of: verb)
    }

    /// The options that may still be given.
    private func options(_ line: TypedLine, _ arguments: CommandArguments, isLong: Bool) -> Answer {
        var answer = Answer()
        for option in arguments.options where option.isRepeating || !line.given.contains(where: { option.isCalled($0) })
        {
            let names = option.names.filter { !isLong || $0.hasPrefix("--") || option.names.count == 1 }
            answer.words += names.map { ($0, option.abstract ?? "") }
        }
        return answer
    }

    /// What the value of `argument` may be that begins with `text`.
    private func value(
        of argument: CommandArguments.Argument, _ text: String, in line: TypedLine, of verb: any ParsableCommand.Type
    ) -> Answer {
        var answer = Answer()
        switch argument.completion {
        case .list(let values):
            answer.words = values.map { ($0, "") }
            return answer
        case .file: return files(text, argument.kind == .positional ? verb : nil, place: line.place)
        case .directory: answer.files = .directories
        case .custom:
            let name = argument.names.first ?? "positional@\(line.place)"
            answer.words = custom(name, text, line.words + line.after, verb).map { ($0, "") }
        case nil: break
        }
        // A path behind the name of what it is for: file:/root/key, unix:/run/socket, allow_path=/srv.
        if answer.words.isEmpty, let slash = text.firstIndex(of: "/") {
            let mark = text[..<slash].lastIndex { "=:,".contains($0) }
            answer.files = .files
            answer.fileStart = mark.map { text[...$0].unicodeScalars.count } ?? 0
        }
        return answer
    }

    /// What the closure of the argument `name` of `verb` answers, which gets the other `words` of the line and the value `text`.
    private func custom(_ name: String, _ text: String, _ words: [String], _ verb: any ParsableCommand.Type) -> [String]
    {
        let path = verb == command ? [] : [verb._commandName]
        let start = [command._commandName] + path
        let place = ["\(start.count + words.count)", "\(text.count)"]
        do {
            _ = try command.parseAsRoot(["---completion"] + path + ["--", name] + place + start + words + [text])
            return []
        } catch {
            // The answer is thrown, as is what went wrong.
            guard command.exitCode(for: error) == .success else { return [] }
            return command.message(for: error).split(separator: "\n").map(String.init)
        }
    }
}
