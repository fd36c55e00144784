import ArgumentParser
import Arguments
import HostStorage

extension RBlock {
    private static let verbs = configuration.subcommands.map { $0._commandName } + ["help"]

    /// As every command; but an unknown verb is reported with the one that may have been meant, and `--inspect` is
    /// taken for the verb.
    static func main() async {
        // A split VMDK of 2 TiB has more files than the usual limit.
        raiseDescriptorLimit()
        await main(arguments())
    }

    /// The same where nothing but help can be given, for the reason `missing`.
    static func help(without missing: String) -> Never {
        do {
            var command = try parseAsRoot(arguments())
            if configuration.subcommands.contains(where: { $0 == type(of: command) }) {
                Failure.say(missing)
                throw ExitCode(70)
            }
            try command.run()
            exit()
        } catch {
            exit(withError: error)
        }
    }

    /// What is to be parsed; ends the process where it begins with a verb that there is not.
    private static func arguments() -> [String] {
        let arguments = argumentsWithVerb(ProgramArguments.strings)
        if let name = arguments.first, !name.hasPrefix("-"), !verbs.contains(name) {
            let near = verbs.filter { distance(name, $0) <= 2 }.min { distance(name, $0) < distance(name, $1) }
            let hint = near.map { "; did you mean '\($0)'?" } ?? ""
            exit(withError: ValidationError("There is no subcommand '\(name)'\(hint)"))
        }
        return arguments
    }

    /// The arguments with the verb in front where it was said as an option: `rblock IMAGE --inspect`.
    private static func argumentsWithVerb(_ arguments: [String]) -> [String] {
        let options = arguments.prefix { $0 != "--" }
        guard let first = arguments.first, !verbs.contains(first), let place = options.firstIndex(of: "--inspect")
        else { return arguments }
        return ["inspect"] + arguments[..<place] + arguments[(place + 1)...]
    }

    /// How many letters must be put in, left out, replaced or exchanged with their neighbour to make `left` of `right`.
    private static func distance(_ left: String, _ right: String) -> Int {
        // No verb is meant by a word that is so long.
        let left = Array(left.prefix(32))
        let right = Array(right)
        var rows = [Array(0...right.count)]
        for (index, letter) in left.enumerated() {
            var row = [index + 1]
            for (other, wanted) in right.enumerated() {
                var least = min(row[other], rows[index][other + 1]) + 1
                least = min(least, rows[index][other] + (letter == wanted ? 0 : 1))
                if index > 0, other > 0, letter == right[other - 1], left[index - 1] == wanted {
                    least = min(least, rows[index - 1][other - 1] + 1)
                }
                row.append(least)
            }
            rows.append(row)
        }
        return rows[left.count][right.count]
    }
}
