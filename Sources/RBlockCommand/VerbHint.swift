import ArgumentParser
import Arguments
import BlockImage
import Glibc
import HostStorage
import ImageFormats
import SystemPackage

extension RBlock {
    private static let verbs = configuration.subcommands.map { $0._commandName } + ["help"]

    /// As every command; but an unknown verb is reported with the one that may have been meant, and `--inspect` is
    /// taken for the verb.
    static func main() async {
        // A split VMDK of 2 TiB has more files than the usual limit.
        raiseDescriptorLimit()
        // What reaches past the limit of a file's size (ulimit -f) fails, as on a full disk.
        _ = signal(SIGXFSZ, SIG_IGN)
        ProgressBar.listensToSignal()
        let arguments = ProgramArguments.strings
        do {
            var command = try parseAsRoot(withVerb(arguments))
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            Failure.end(error, arguments: arguments)
        }
    }

    /// The same where nothing but help can be given, for the reason `missing`.
    static func help(without missing: String) -> Never {
        do {
            var command = try parseAsRoot(withVerb(ProgramArguments.strings))
            if configuration.subcommands.contains(where: { $0 == type(of: command) }) {
                Failure.say(missing)
                throw ExitCode(70)
            }
            try command.run()
            exit()
        } catch {
            end(error)
        }
    }

    /// What is to be parsed: `arguments`, with the verb in front where it was said as an option, `rblock IMAGE --inspect`, and
    /// with `info` where there is an image in the place of a verb. Throws where they begin with a verb that there is not, or ask for its
    /// help.
    static func withVerb(_ arguments: [String]) throws -> [String] {
        guard let name = arguments.first else { return arguments }
        if name == "help" {
            let words = arguments.dropFirst().filter { !$0.hasPrefix("-") }
            if let verb = words.first, !verbs.contains(verb) { throw noVerb(verb) }
            guard words.count < 2 else {
                throw ValidationError("help: explains one verb; '\(words[1])' is one argument too many")
            }
        }
        guard !verbs.contains(name) else { return arguments }
        if let place = arguments.prefix(while: { $0 != "--" }).firstIndex(of: "--inspect") {
            return ["inspect"] + arguments[..<place] + arguments[(place + 1)...]
        }
        guard !name.hasPrefix("-") else { return arguments }
        if isImage(name) { return ["info"] + arguments }
        throw noVerb(name)
    }

    /// That there is no verb `name`, with what does the same, or what may have been meant.
    private static func noVerb(_ name: String) -> ValidationError {
        if let hint = otherVerbs[name] { return ValidationError("There is no subcommand '\(name)'; \(hint)") }
        let near = verbs.filter { distance(name, $0) <= 2 }.min { distance(name, $0) < distance(name, $1) }
        let hint = near.map { "; did you mean '\($0)'?" } ?? ""
        return ValidationError("There is no subcommand '\(name)'\(hint)")
    }

    /// Whether `name` is that of a file, or looks like that of an image or of a disk in one.
    private static func isImage(_ name: String) -> Bool {
        let file = name.split(separator: "@", maxSplits: 1).first.map { Array(String($0).nameBytes) } ?? []
        return name.contains("/") || ImageFormat.naming(of: file) != nil || ContainerFormat.naming(of: file) != nil
            || (try? FileStatus(at: FilePath(text: name))) != nil
    }

    /// The subcommands of qemu-img that there are not, and what does the same.
    private static let otherVerbs = [
        "amend": "'rblock convert' makes an image with other options",
        "bench": "fio(1) measures a disk, as 'rblock serve' serves it or rblockfs(1) mounts it",
        "bitmap":
            "'rblock info' lists dirty bitmaps, and 'rblock delta --from-bitmap' goes by one; qemu-img makes them",
        "compare": "'rblock diff' compares two disks",
        "dd": "'rblock read --offset N --length N' writes a part of a disk, and 'rblock convert' a whole one",
        "rebase":
            "'rblock delta' makes an image over another backing file; nothing is written to an image that is there",
        "resize": "nothing is written to an image that is there; 'rblock create -b' makes a larger one over it",
        "snapshot": "'rblock info' lists snapshots, and IMAGE@NAME is the disk of one; qemu-img makes them",
    ]

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
